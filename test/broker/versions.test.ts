// Versions of a resource: each answer names its own, and one that was replaced stays shut to whoever asks for it.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { ERROR_TYPE_PREFIX } from '#kbs/messages.ts'
import { filled, type Rig, records, rig } from './rig.ts'

const replaced = async (broker: Rig) => {
    const { status } = await broker.admin('POST', '/v1/resources/web/disk/root/random?replace=true')
    if (status !== 200) throw new Error(`replace: ${status}`)
}

test('an answer names its version, which can be asked for', async (t) => {
    const broker = await filled(await rig(t))
    const guest = await broker.attest()
    const first = await guest.get('web/disk/root', 'luks-key')
    t.is(first.headers['resource-version'], '1')
    const same = await guest.get('web/disk/root', 'luks-key&version=1')
    t.is(same.status, 200)
    t.deepEqual(guest.open(same), guest.open(first))
    await replaced(broker)
    const second = await guest.get('web/disk/root', 'luks-key&version=2')
    t.is(second.headers['resource-version'], '2')
    t.notDeepEqual(guest.open(second), guest.open(first))
    t.is((await guest.get('web/files/key?version=1')).status, 200, 'without a use, too')
    const release = (await records(broker)).findLast(({ kind }) => kind === 'release')
    t.is(release?.data.asked, 1)
})

for (const { name, version } of [
    { name: 'one that was replaced', version: 1 },
    { name: 'one that is not there yet', version: 3 },
])
    test(`refused, recorded, counted as nothing: ${name}`, async (t) => {
        const broker = await filled(await rig(t))
        await replaced(broker)
        const answer = await (await broker.attest()).get('web/disk/root', `luks-key&version=${version}`)
        t.is(answer.status, 403)
        t.is(answer.json.type, `${ERROR_TYPE_PREFIX}VersionRetired`)
        t.is(answer.json.code, 'ERR_KBS_VERSION_RETIRED')
        t.is(answer.headers['resource-version'], undefined)
        const log = await records(broker)
        t.like(log.at(-1), { kind: 'denial', subject: 'web/disk/root' })
        t.like(log.at(-1)?.data, { code: 'ERR_KBS_VERSION_RETIRED', asked: version, use: 'luks-key' })
        t.regex(log.at(-1)?.data.reason, /is not the current one, that is 2$/)
        t.false(log.some(({ kind }) => kind === 'release'))
    })

test('whoever may not have it does not learn its version', async (t) => {
    const broker = await filled(await rig(t))
    await replaced(broker)
    const stranger = await broker.attest({ measurement: Buffer.alloc(48, 7) })
    for (const version of [1, 2, 3]) {
        const answer = await stranger.get('web/disk/root', `luks-key&version=${version}`)
        t.is(answer.json.code, 'ERR_BROKER_DENIED_REFERENCE')
    }
})

for (const version of ['0', '-1', '01', '1.5', 'x', '', '9999999999'])
    test(`no version: ${version}`, async (t) => {
        const broker = await filled(await rig(t))
        const answer = await (await broker.attest()).get('web/disk/root', `luks-key&version=${version}`)
        t.is(answer.status, 400)
        t.is(answer.json.code, 'ERR_KBS_MESSAGE')
    })
