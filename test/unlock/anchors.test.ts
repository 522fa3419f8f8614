// Trust anchors: which files are believed, and what they let through.
// SPDX-License-Identifier: Apache-2.0

import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import type { AttestError } from '#core/errors.ts'
import { parseResourcePath } from '#kbs/messages.ts'
import { matchesPath } from '#kbs/patterns.ts'
import { temporaryFolder } from '#test/folder.ts'
import { formatAnchor, injectedAnchor, parseAnchor, readAnchors, requireAnchor, sourceOf } from '#unlock/anchors.ts'
import { ROOT } from '../machine.ts'
import { needs } from '../needs.ts'

const PIN = `sha256/${'A'.repeat(43)}=`
const GOOD = { url: 'https://kbs.example:8443', pins: [PIN], allowPaths: ['default/luks/web-*'] }

function folder(t: ExecutionContext, files: Record<string, string>): string {
    const path = temporaryFolder(t)
    mkdirSync(join(path, 'trust.d'))
    for (const [name, text] of Object.entries(files)) writeFileSync(join(path, 'trust.d', name), text, { mode: 0o644 })
    return path
}

for (const { pattern, path, want } of [
    { pattern: 'default/luks/a', path: 'default/luks/a', want: true },
    { pattern: 'default/luks/a', path: 'default/luks/ab', want: false },
    { pattern: 'default/luks/*', path: 'default/luks/anything', want: true },
    { pattern: 'default/luks/web-*', path: 'default/luks/web-', want: true },
    { pattern: 'default/*/a', path: 'default/x/a', want: true },
    { pattern: '*/*/*', path: 'a/b/c', want: true },
    { pattern: 'default/luks/*', path: 'default/luks/a/b', want: false },
    { pattern: 'default/luks/a.b', path: 'default/luks/axb', want: false },
    { pattern: 'default/luks/a', path: 'Default/luks/a', want: false },
])
    test(`${pattern} ${want ? 'allows' : 'does not allow'} ${path}`, (t) => t.is(matchesPath(pattern, path), want))

for (const { name, value } of [
    { name: 'neither pin nor CA', value: { ...GOOD, pins: undefined } },
    { name: 'pin and CA', value: { ...GOOD, ca: '-----BEGIN CERTIFICATE-----' } },
    { name: 'a pin that is none', value: { ...GOOD, pins: ['sha1/AAAA'] } },
    { name: 'no paths', value: { ...GOOD, allowPaths: [] } },
    { name: 'a path of two names', value: { ...GOOD, allowPaths: ['default/luks'] } },
    { name: 'a pattern with a class', value: { ...GOOD, allowPaths: ['default/luks/[ab]'] } },
    { name: 'an unknown member', value: { ...GOOD, insecure: true } },
])
    test(`malformed: ${name}`, (t) =>
        void t.throws(() => parseAnchor(JSON.parse(JSON.stringify(value)), 'x'), { code: 'ERR_UNLOCK_ANCHOR_FILE' }))

for (const url of [
    'http://kbs.example',
    'ftp://kbs.example',
    'https://kbs.example/path',
    'https://user@kbs.example',
    'kbs.example',
    'https://kbs.example?x',
    'http://127.0.0.1:80',
])
    test(`no origin: ${url}`, (t) => void t.throws(() => parseAnchor({ ...GOOD, url }, 'x'), { code: 'ERR_URL' }))

test('what is written is read', (t) => {
    const anchors = readAnchors(
        folder(t, {
            'a.toml': formatAnchor(GOOD),
            'b.toml': formatAnchor({ url: 'http://127.0.0.1:81', allowPaths: ['a/b/c'], insecureHttp: true }),
            'note.txt': 'x',
        }),
    )
    t.deepEqual(
        anchors.map(({ origin, trust, allowPaths }) => ({ origin: origin.origin, trust, allowPaths })),
        [
            { origin: 'https://kbs.example:8443', trust: { pins: [PIN] }, allowPaths: ['default/luks/web-*'] },
            { origin: 'http://127.0.0.1:81', trust: null, allowPaths: ['a/b/c'] },
        ],
    )
})

test('two files of one broker: nobody would know which one holds', (t) => {
    const path = folder(t, {
        'a.toml': formatAnchor(GOOD),
        'b.toml': formatAnchor({ ...GOOD, url: 'https://KBS.example:8443/', allowPaths: ['a/b/c'] }),
    })
    t.throws(() => readAnchors(path), {
        code: 'ERR_UNLOCK_ANCHOR_FILE',
        message: /b\.toml: https:\/\/kbs\.example:8443 is in .*a\.toml already/,
    })
})

test('no folder is no trust', (t) => t.deepEqual(readAnchors(join(folder(t, {}), 'nowhere')), []))

const anchors = [parseAnchor(GOOD, 'good.toml')]

for (const { name, server, path, code } of [
    {
        name: 'a broker that nobody trusts',
        server: 'https://evil.example',
        path: 'default/luks/web-1',
        code: 'ERR_UNLOCK_NOT_ANCHORED',
    },
    {
        name: 'the broker on another port',
        server: 'https://kbs.example',
        path: 'default/luks/web-1',
        code: 'ERR_UNLOCK_NOT_ANCHORED',
    },
    {
        name: 'the broker over http',
        server: 'http://127.0.0.1:8443',
        path: 'default/luks/web-1',
        code: 'ERR_UNLOCK_NOT_ANCHORED',
    },
    {
        name: 'a path that may not open a disk',
        server: 'https://kbs.example:8443',
        path: 'default/luks/db-1',
        code: 'ERR_UNLOCK_PATH',
    },
])
    test(`refused: ${name}`, (t) =>
        void t.throws(() => requireAnchor(anchors, server, parseResourcePath(path)), { code }))

test('an anchor that agrees', (t) =>
    t.deepEqual(requireAnchor(anchors, 'https://KBS.example:8443/', parseResourcePath('default/luks/web-1')).source, {
        file: 'good.toml',
    }))

for (const { name, spoil } of [
    { name: 'a file that others may write', spoil: (path: string) => chmodSync(join(path, 'trust.d/a.toml'), 0o666) },
    { name: 'a file that a group may write', spoil: (path: string) => chmodSync(join(path, 'trust.d/a.toml'), 0o664) },
    { name: 'a folder that others may write', spoil: (path: string) => chmodSync(join(path, 'trust.d'), 0o777) },
    { name: 'a folder above that others may write', spoil: (path: string) => chmodSync(path, 0o777) },
    {
        name: 'a symbolic link',
        spoil(path: string) {
            symlinkSync(join(path, 'trust.d/a.toml'), join(path, 'trust.d/b.toml'))
        },
    },
])
    test(`not believed: ${name}`, (t) => {
        const path = folder(t, { 'a.toml': formatAnchor(GOOD) })
        spoil(path)
        t.throws(() => readAnchors(path), { code: 'ERR_UNTRUSTED_FILE' })
    })

for (const { name, spoil } of [
    { name: 'a file of another user', spoil: (path: string) => chownSync(join(path, 'trust.d/a.toml'), 12_345, 0) },
    { name: 'a folder of another user', spoil: (path: string) => chownSync(path, 12_345, 0) },
])
    needs(ROOT)(`not believed: ${name}`, (t) => {
        const path = folder(t, { 'a.toml': formatAnchor(GOOD) })
        spoil(path)
        t.throws(() => readAnchors(path), { code: 'ERR_UNTRUSTED_FILE' })
    })

test('the broker that the owner injected, and no other', (t) => {
    const pins = [PIN]
    const anchor = injectedAnchor({ url: 'https://kbs.example:8443', pins, allowPaths: ['web/*/*'] })
    const own = [anchor]
    const path = (text: string) => parseResourcePath(text)
    t.is(requireAnchor(own, 'https://kbs.example:8443', path('web/disk/root')), anchor)
    t.is(anchor.source, 'injected')
    // A file of that name is a file.
    const file = parseAnchor({ ...GOOD, url: 'https://kbs.example:8443' }, sourceOf(anchor))
    const strange = t.throws<AttestError>(() => requireAnchor([file], 'https://other.example', path('web/disk/root')))
    t.regex(strange?.hint ?? '', /guest-attest trust add/)
    t.throws(() => requireAnchor(own, 'https://kbs.example:8443', path('a/disk/root')), { code: 'ERR_UNLOCK_PATH' })
    const other = t.throws<AttestError>(() => requireAnchor(own, 'https://other.example', path('web/disk/root')), {
        code: 'ERR_UNLOCK_NOT_ANCHORED',
    })
    t.regex(other?.hint ?? '', /injected another broker, the only one that it trusts: https:\/\/kbs\.example:8443/)
    for (const changed of [{ pins: [] }, { pins: ['x'] }, { allowPaths: ['*'] }])
        t.throws(() => injectedAnchor({ url: 'https://kbs.example', pins, allowPaths: ['web/*/*'], ...changed }), {
            code: 'ERR_UNLOCK_ANCHOR_FILE',
            message: /injected at the launch/,
        })
    t.throws(() => injectedAnchor({ url: 'http://127.0.0.1', pins, allowPaths: ['web/*/*'] }), { code: 'ERR_URL' })
})
