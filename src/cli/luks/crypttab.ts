// The line of a volume in /etc/crypttab, crypttab(5): what our front ends need of it, and what stood there beside that.
// SPDX-License-Identifier: Apache-2.0

import { coreError } from '#core/errors.ts'
import { RUN_FOLDER } from '#core/role.ts'
import { type BootVolume, needsNetwork } from '#unlock/volumes.ts'

/** A volume, and the initrd that opens it. */
export interface CrypttabVolume {
    readonly volume: BootVolume
    /** Whether systemd opens it, in an initrd of dracut or on the running system. */
    readonly systemd: boolean
}

interface Line {
    readonly key: string
    readonly options: readonly string[]
}

const WAITS = 'x-systemd.device-timeout=0'

/** What the front ends and profiles have there. */
function lineOf({ volume, systemd }: CrypttabVolume): Line {
    const { name, frontEnd, profile } = volume
    const header = `header=${RUN_FOLDER}/${name}.hdr`
    const when = whenOpened(volume)
    if (frontEnd === 'keyscript')
        return { key: name, options: ['luks', 'initramfs', 'keyscript=/usr/lib/guest-attest/keyscript', header] }
    if (frontEnd === 'clevis')
        return { key: 'none', options: systemd ? ['luks', WAITS, ...when] : ['luks', 'initramfs'] }
    if (profile === 'compat') return { key: 'none', options: ['luks', header, WAITS, ...when] }
    return {
        key: `${RUN_FOLDER}/keys/${name}.sock`,
        options: ['luks', header, 'headless=true', 'tries=1', WAITS, ...when],
    }
}

const whenOpened = (volume: BootVolume): string[] =>
    volume.root ? ['x-initrd.attach'] : needsNetwork(volume) ? ['_netdev'] : []

/** Options that decide where the key or the header comes from, or that a front end sets. The others are the owner's. */
const OURS =
    /^(?:luks|plain|tcrypt|bitlk|swap|tmp|initramfs|keyscript|header|headless|tries|x-initrd\.attach|_netdev|noauto|token-timeout|link-volume-key|keyfile-.*|key-slot|keyslot|password-.*|x-systemd\.device-timeout|tpm2-.*|fido2-.*|pkcs11-.*|try-empty-password|timeout|check|precheck|loud|quiet|noearly)(?:=|$)/

/**
 * The text of crypttab with the line of a volume: that line alone is new.
 * @param device how else the volume may stand there
 * @throws AttestError ERR_USAGE where it stands there under another name, or another one under its name
 */
export function withVolume(text: string, entry: CrypttabVolume, device: string): string {
    const { name, uuid } = entry.volume
    const lines = text.split('\n')
    const found = lines.findIndex((line) => {
        const [target, source = ''] = fieldsOf(line)
        if (target === undefined) return false
        const same = isSource(source, uuid, device)
        if (same && target !== name)
            throw coreError('ERR_USAGE', `crypttab calls this volume ${target}: expected --name ${target}`)
        if (target === name && !same && !/^\/dev\//.test(source))
            throw coreError('ERR_USAGE', `${name} is another volume in crypttab (${source}): expected another --name`)
        return target === name
    })
    const { key, options } = lineOf(entry)
    const own = found < 0 ? [] : (fieldsOf(lines[found] ?? '')[3] ?? '').split(',').filter((o) => o && !OURS.test(o))
    const line = [name, `UUID=${uuid}`, key, [...options, ...own].join(',')].join('\t')
    if (found >= 0) return lines.with(found, line).join('\n')
    const before = text === '' || text.endsWith('\n') ? text : `${text}\n`
    return `${before}${line}\n`
}

/** The name under which a volume stands in crypttab. */
export function nameOf(text: string, uuid: string, device: string): string | undefined {
    for (const line of text.split('\n')) {
        const [target, source = ''] = fieldsOf(line)
        if (target !== undefined && isSource(source, uuid, device)) return target
    }
    return undefined
}

/** Target, source, key, options; nothing for a comment. */
function fieldsOf(line: string): string[] {
    const fields = line.trim().split(/\s+/)
    return fields[0] === '' || fields[0]?.startsWith('#') ? [] : fields
}

const isSource = (source: string, uuid: string, device: string): boolean =>
    [`UUID=${uuid}`, `/dev/disk/by-uuid/${uuid}`].some((known) => known.toLowerCase() === unquoted(source)) ||
    source === device

const unquoted = (source: string): string => source.replaceAll('"', '').toLowerCase()
