// The guest's side of SEV: whose guest it is, and what it can do with what was injected.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { secret } from '#core/bytes.ts'
import { DISK_GUID } from '#core/secret-names.ts'
import { driverError } from '#drivers/errors.ts'
import { CLIENT_GUID, formatClient } from '#plugins/sev/client-secret.ts'
import { sevDriver } from '#plugins/sev/driver.ts'
import { parsePossession } from '#plugins/sev/possession.ts'
import { machine, withKeyring } from '#test/broker/possession-rig.ts'
import { foreignDoors } from '#test/drivers/doors.ts'

const BROKER = { url: 'https://kbs.example:8443', pins: [`sha256/${'A'.repeat(43)}=`], allowPaths: ['web/*/*'] }
const ID = Buffer.alloc(16, 7)

const client = () =>
    Buffer.from(formatClient({ id: ID.toString('base64url'), key: secret(Buffer.alloc(32, 1)), broker: BROKER }))
const withKey = (bytes = client()) => machine(new Map([[CLIENT_GUID, bytes]]))

test('nothing but secrets: it proves nothing, and trusts whom its files name', async (t) => {
    const guest = await machine(new Map([[DISK_GUID, Buffer.from('x')]])).guest()
    t.deepEqual(guest.secrets?.list(), [DISK_GUID])
    for (const name of ['evidence', 'broker', 'handOver'] as const) t.is(guest[name], undefined)
})

test('the key of its launch: a proof, and one broker', async (t) => {
    const guest = await withKey().guest()
    t.deepEqual(guest.broker?.(), BROKER)
    const evidence = await guest.evidence?.(Buffer.alloc(48, 2))
    const { launchId, reportData } = parsePossession(evidence?.report as Buffer)
    t.deepEqual(launchId, ID)
    t.deepEqual(reportData, Buffer.concat([Buffer.alloc(48, 2), Buffer.alloc(16)]))
    for (const size of [0, 65])
        await t.throwsAsync(async () => guest.evidence?.(Buffer.alloc(size)), { instanceOf: TypeError })
})

test('a key that somebody took away meanwhile', async (t) => {
    const own = withKey()
    const guest = await own.guest()
    own.secrets.clear()
    await t.throwsAsync(async () => guest.evidence?.(Buffer.alloc(48)), { code: 'ERR_SECRET_MISSING' })
})

test('one that is malformed: it is said when it is used, and the secrets are there all the same', async (t) => {
    for (const text of ['', '{}', client().toString().replace('"version":1', '"version":2')]) {
        const guest = await withKey(Buffer.from(text)).guest()
        t.deepEqual(guest.secrets?.list(), [CLIENT_GUID])
        const { message } = t.throws(() => guest.broker?.(), { code: 'ERR_SEV_CLIENT' })
        t.regex(message, /is no key of a launch, as a broker makes and injects it$/)
        await t.throwsAsync(async () => guest.evidence?.(Buffer.alloc(48)), { code: 'ERR_SEV_CLIENT' })
    }
})

test('what stands in the keyring alone', async (t) => {
    const own = withKey()
    ;(await own.guest()).handOver?.()
    t.is(own.secrets.size, 0)
    const guest = await own.guest()
    t.deepEqual(guest.broker?.(), BROKER)
    t.is((await guest.evidence?.(Buffer.alloc(48)))?.tee, 'sev')
})

for (const code of ['ERR_KEYRING', 'ERR_KEYRING_ALTERED', 'ERR_DEVICE_IO'] as const)
    test(`handed over, and lost: ${code} wherever it is used, never a guest without one`, async (t) => {
        const own = withKey()
        ;(await own.guest()).handOver?.()
        const read = () => {
            throw driverError(code, 'lost')
        }
        const guest = await sevDriver.open(withKeyring(own.doors, { read }))
        t.throws(() => guest?.broker?.(), { code })
        await t.throwsAsync(async () => guest?.evidence?.(Buffer.alloc(48)), { code })
        t.deepEqual(guest?.secrets?.list(), [])
    })

test('never handed over: the keyring is not asked', async (t) => {
    const { doors } = machine(new Map([[DISK_GUID, Buffer.from('x')]]))
    const read = () => t.fail() as never
    const guest = await sevDriver.open(withKeyring(doors, { read }))
    t.is(guest?.evidence, undefined)
    t.is(guest?.broker, undefined)
})

for (const { name, system } of [
    { name: 'SNP', system: { exists: (path: string) => path === '/sys/devices/platform/sev-guest' } },
    { name: 'TDX', system: { hasCpuFlag: (flag: string) => flag === 'tdx_guest' } },
])
    test(`a guest of ${name} is none of SEV, whatever its memory holds`, async (t) => {
        const { doors } = machine(new Map([[CLIENT_GUID, client()]]), system)
        t.is(await sevDriver.open({ ...doors, ...foreignDoors('secrets') }), null)
    })

test('another interface that is named', async (t) => {
    await t.throwsAsync(sevDriver.open(withKey().doors, { via: 'ioctl' }), { code: 'ERR_VIA' })
    t.truthy(await sevDriver.open(withKey().doors, { via: 'securityfs' }))
})
