// /dev/sev-guest: what each errno, firmware status and host status becomes, with a C library in memory. The ioctl itself
// is tried against the emulator.
// SPDX-License-Identifier: Apache-2.0

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { AttestError } from '#core/errors.ts'
import type { DeviceLock } from '#drivers/linux/device-lock.ts'
import type { Ioctls, Libc } from '#drivers/linux/libc.ts'
import { sevDevice } from '#drivers/linux/sev-device.ts'
import { FIRMWARE_STATUS, firmwareStatus } from '#drivers/linux/sev-firmware.ts'
import {
    DERIVED_KEY_REQ,
    EXT_REPORT_REQ,
    GUEST_REQUEST,
    REPORT_REQ,
    REPORT_RESP_HEADER,
    SNP_IOCTL,
    sevGuest,
} from '#drivers/linux/sev-guest.ts'
import { temporaryFolder } from '#test/folder.ts'

const noLock: DeviceLock = { hold: (_device, request) => request() }

interface Answer {
    readonly result?: number
    readonly errno?: number
    readonly fwError?: number
    readonly vmmError?: number
    readonly response?: Buffer
    readonly certsLen?: number
}

/** Buffers by the addresses that were handed out: what the kernel would reach through the pointers. */
function kernel(answers: Answer[]) {
    const memory: Buffer[] = []
    const requests: { request: number; payload: Buffer }[] = []
    const at = (address: bigint): Buffer => memory[Number(address) - 1] ?? Buffer.alloc(0)
    const libc: Ioctls & Pick<Libc, 'tryLock'> = {
        addressOf: (buffer) => BigInt(memory.push(buffer)),
        async ioctl(_fd, request, given) {
            const argument = given ?? Buffer.alloc(0)
            const { reqData, respData } = GUEST_REQUEST.parse(argument)
            requests.push({ request, payload: Buffer.from(at(reqData)) })
            const { result = 0, errno = 0, fwError = 0, vmmError = 0, response, certsLen } = answers.shift() ?? {}
            argument.writeUInt32LE(fwError, 24)
            argument.writeUInt32LE(vmmError, 28)
            response?.copy(at(respData))
            if (certsLen !== undefined) at(reqData).writeUInt32LE(certsLen, 104)
            return { result, errno }
        },
        tryLock: () => true,
    }
    return { libc: () => libc, requests }
}

const folder = temporaryFolder({ teardown: test.after.always })
const regularFile = join(folder, 'sev-guest')
writeFileSync(regularFile, '')

/** A real character device stands in for the door; the ioctl never reaches it. */
const device = (answers: Answer[]) => {
    const { libc, requests } = kernel(answers)
    return { door: sevGuest(libc, noLock, '/dev/null'), requests }
}

const report = (status = 0, reportSize = 1184): Buffer =>
    Buffer.concat([REPORT_RESP_HEADER.encode({ status, reportSize }), Buffer.alloc(1184, 0x42)])

const reportData = Buffer.alloc(64, 0x77)

test('SNP_GET_REPORT carries the nonce and the level', async (t) => {
    const { door, requests } = device([{ response: report() }])
    t.deepEqual(await door.report({ reportData, vmpl: 2 }), Buffer.alloc(1184, 0x42))
    t.is(requests[0]?.request, SNP_IOCTL.getReport)
    t.like(REPORT_REQ.parse(requests[0]?.payload ?? Buffer.alloc(0)), { userData: reportData, vmpl: 2 })
})

test('SNP_GET_EXT_REPORT asks for the largest table first, and again with the size that the host names', async (t) => {
    const { door, requests } = device([{ result: -1, errno: 5, vmmError: 1, certsLen: 0x8000 }, { response: report() }])
    const { certificates } = await door.extendedReport({ reportData, vmpl: 0 })
    t.deepEqual(
        requests.map(({ payload }) => EXT_REPORT_REQ.parse(payload).certsLen),
        [0x4000, 0x8000],
    )
    t.is(certificates.length, 0x8000)
})

for (const { name, sizes } of [
    { name: 'a host that names a new size each time', sizes: [0x5000, 0x6000] },
    { name: 'a host that names no size', sizes: [0] },
    { name: 'a host that names a part of a page', sizes: [0x4001] },
])
    test(`SNP_GET_EXT_REPORT, refused: ${name}`, async (t) => {
        const { door } = device(sizes.map((certsLen) => ({ result: -1, errno: 5, vmmError: 1, certsLen })))
        await t.throwsAsync(door.extendedReport({ reportData, vmpl: 0 }), { code: 'ERR_DEVICE_RESPONSE' })
    })

test('SNP_GET_DERIVED_KEY carries the selector and returns 32 bytes', async (t) => {
    const response = Buffer.concat([Buffer.alloc(32), Buffer.alloc(32, 0x99)])
    const { door, requests } = device([{ response }])
    const key = await door.derivedKey({ guestFieldSelect: 0b111001n, vmpl: 1, guestSvn: 3, tcbVersion: 9n })
    t.deepEqual(Buffer.from(key), Buffer.alloc(32, 0x99))
    t.like(DERIVED_KEY_REQ.parse(requests[0]?.payload ?? Buffer.alloc(0)), {
        rootKeySelect: 0,
        guestFieldSelect: 0b111001n,
        vmpl: 1,
        guestSvn: 3,
        tcbVersion: 9n,
    })
})

for (const { name, answer, code, hint } of [
    { name: 'a response of another size', answer: { response: report(0, 1185) }, code: 'ERR_DEVICE_RESPONSE' },
    {
        name: 'a wrong VMPL (firmware 0x16)',
        answer: { response: report(0x16) },
        code: 'ERR_SEV_FW_INVALID_PARAM',
        hint: /VMPL/,
    },
    {
        name: 'a masked key (firmware 0x27)',
        answer: { response: report(0x27) },
        code: 'ERR_SEV_FW_INVALID_KEY',
        hint: /masks/,
    },
    { name: 'an unknown firmware status', answer: { response: report(0x7f) }, code: 'ERR_SEV_FW_UNKNOWN' },
    {
        name: 'EIO with a firmware status',
        answer: { result: -1, errno: 5, fwError: 0x17 },
        code: 'ERR_SEV_FW_RESOURCE_LIMIT',
    },
    { name: 'EIO and a busy host', answer: { result: -1, errno: 5, vmmError: 2 }, code: 'ERR_DEVICE_BUSY' },
    {
        name: 'EIO and another host status',
        answer: { result: -1, errno: 5, vmmError: 0xffffffff },
        code: 'ERR_DEVICE_IO',
        hint: /vmpck_id/,
    },
    { name: 'EIO and no firmware call', answer: { result: -1, errno: 5, fwError: 0xffffffff }, code: 'ERR_DEVICE_IO' },
    {
        name: 'ENOTTY: the message key is lost',
        answer: { result: -1, errno: 25 },
        code: 'ERR_DEVICE_KEY_LOST',
        hint: /restart the guest/,
    },
    { name: 'EINVAL', answer: { result: -1, errno: 22 }, code: 'ERR_DEVICE_REQUEST' },
    { name: 'EFAULT', answer: { result: -1, errno: 14 }, code: 'ERR_DEVICE_REQUEST' },
    { name: 'EBADMSG', answer: { result: -1, errno: 74 }, code: 'ERR_DEVICE_RESPONSE' },
    { name: 'ETIMEDOUT', answer: { result: -1, errno: 110 }, code: 'ERR_DEVICE_THROTTLED' },
    { name: 'ECONNABORTED', answer: { result: -1, errno: 103 }, code: 'ERR_DEVICE_GONE' },
    { name: 'another errno', answer: { result: -1, errno: 99 }, code: 'ERR_DEVICE_IO' },
    {
        name: 'a fwError that an old kernel left behind, errno not EIO',
        answer: { result: -1, errno: 25, fwError: 0x16 },
        code: 'ERR_DEVICE_KEY_LOST',
    },
] as { name: string; answer: Answer; code: string; hint?: RegExp }[])
    test(`refused: ${name}`, async (t) => {
        const { door } = device([answer])
        const error = await t.throwsAsync<AttestError>(door.report({ reportData, vmpl: 0 }), { code })
        if (hint) t.regex(error?.hint ?? '', hint)
    })

for (const [status, { name }] of Object.entries(FIRMWARE_STATUS))
    test(`firmware status ${status} is its own error`, async (t) => {
        const { door } = device([{ response: report(Number(status)) }])
        await t.throwsAsync(door.report({ reportData, vmpl: 0 }), { code: `ERR_SEV_FW_${name}` })
        t.is(firmwareStatus(name), Number(status))
    })

test('a regular file in the place of the device is refused', async (t) => {
    const door = sevGuest(kernel([{ response: report() }]).libc, noLock, regularFile)
    t.throws(() => sevDevice(regularFile).exists(), { code: 'ERR_DEVICE_KIND' })
    await t.throwsAsync(door.report({ reportData, vmpl: 0 }), { code: 'ERR_DEVICE_KIND' })
})

test('a device that is not there', async (t) => {
    const door = sevGuest(kernel([]).libc, noLock, '/dev/no-such-device')
    t.false(sevDevice('/dev/no-such-device').exists())
    await t.throwsAsync(door.report({ reportData, vmpl: 0 }), { code: 'ERR_DEVICE_GONE' })
})
