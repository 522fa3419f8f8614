// What tests run inside an emulated guest: requests through the real doors, each answer as a line of JSON.
//   report configfs|ioctl HEX [VMPL]    a report, its certificates
//   derive FIELDS                        a derived key
//   hang                                 says so, then waits in an ioctl
// SPDX-License-Identifier: Apache-2.0

import { openSync } from 'node:fs'
import { toHex } from '#core/bytes.ts'
import { AttestError } from '#core/errors.ts'
import { linuxDoors } from '#drivers/linux/doors.ts'
import { libc } from '#drivers/linux/libc.ts'
import { GUEST_REQUEST, REPORT_REQ, REPORT_RESP_SIZE, SNP_IOCTL } from '#drivers/linux/sev-guest.ts'

const doors = linuxDoors({ spacingMs: 0 })

const COMMANDS: Readonly<Record<string, (words: string[]) => Promise<object>>> = {
    async report([via = '', hex = '', vmpl]) {
        const reportData = Buffer.from(hex.padEnd(128, '0'), 'hex')
        const level = vmpl === undefined ? undefined : Number(vmpl)
        if (via === 'ioctl') {
            const { report, certificates } = await (await doors.sevGuest()).extendedReport({
                reportData,
                vmpl: level ?? 0,
            })
            return { report: toHex(report), certificates: toHex(certificates) }
        }
        const { outblob, auxblob } = await doors.tsm.report({
            provider: 'sev_guest',
            lock: 'sev-guest',
            inblob: reportData,
            privlevel: level,
        })
        return { report: toHex(outblob), certificates: toHex(auxblob) }
    },
    async derive([fields = '0']) {
        const key = await (await doors.sevGuest()).derivedKey({
            guestFieldSelect: BigInt(fields),
            vmpl: 0,
            guestSvn: 0,
            tcbVersion: 0n,
        })
        return { key: toHex(key) }
    },
    async hang() {
        const payload = REPORT_REQ.encode({ userData: Buffer.alloc(64), vmpl: 0 })
        const response = Buffer.alloc(REPORT_RESP_SIZE)
        const fd = openSync('/dev/sev-guest', 'r+')
        const argument = GUEST_REQUEST.encode({
            msgVersion: 1,
            reqData: libc().addressOf(payload),
            respData: libc().addressOf(response),
            fwError: 0,
            vmmError: 0,
        })
        const call = libc().ioctl(fd, SNP_IOCTL.getReport, argument)
        console.log('in the ioctl')
        return call
    },
}

// Several commands, separated by `,`, run one after the other.
for (const words of process.argv
    .slice(2)
    .join(' ')
    .split(' , ')
    .map((line) => line.split(' '))) {
    const [name = '', ...rest] = words
    const answer = await COMMANDS[name]?.(rest).catch((error: unknown) => {
        if (error instanceof AttestError) return { code: error.code, message: error.message }
        throw error
    })
    console.log(JSON.stringify(answer))
}
