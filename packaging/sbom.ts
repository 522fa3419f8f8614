// The bill of materials: CycloneDX 1.6 (ECMA-424), JSON.
// SPDX-License-Identifier: Apache-2.0

import { createHash } from 'node:crypto'
import packageJson from '#package.json' with { type: 'json' }
import type { Component, Runtime } from './components.ts'
import type { FileDigest } from './manifest.ts'

export interface Materials {
    readonly packages: readonly Component[]
    readonly runtime: Runtime
    readonly runtimeFile: FileDigest
    /** The native library, and the package that it is of. */
    readonly library: FileDigest
    readonly executables: readonly FileDigest[]
    readonly epoch: number
}

const purl = (name: string, version: string): string => `pkg:npm/${name.replace('@', '%40')}@${version}`

/** The document. */
export function sbom({ packages, runtime, runtimeFile, library, executables, epoch }: Materials): object {
    const own = `pkg:generic/${packageJson.name}@${packageJson.version}`
    const node = `pkg:generic/node@${runtime.version}`
    const components = [
        ...packages.map(({ name, version, licence, sha512 }) => ({
            type: 'library',
            'bom-ref': purl(name, version),
            ...named(name),
            version,
            purl: purl(name, version),
            licenses: [/ (?:AND|OR|WITH) /.test(licence) ? { expression: licence } : { license: { id: licence } }],
            ...(sha512 === undefined ? {} : { hashes: [{ alg: 'SHA-512', content: sha512 }] }),
            ...(name.startsWith('@koromix/koffi')
                ? { components: [file('koffi.node', library.sha256, `${own}#koffi.node`)] }
                : {}),
        })),
        {
            type: 'platform',
            'bom-ref': node,
            name: 'node',
            version: runtime.version,
            purl: node,
            licenses: [{ license: { id: runtime.licence } }],
            hashes: [{ alg: 'SHA-256', content: runtimeFile.sha256 }],
            components: Object.entries(runtime.parts).map(([name, version]) => ({
                type: 'library',
                'bom-ref': `${node}#${name}`,
                name,
                version,
            })),
        },
    ]
    const document = {
        bomFormat: 'CycloneDX',
        specVersion: '1.6',
        version: 1,
        metadata: {
            timestamp: new Date(epoch * 1000).toISOString(),
            component: {
                type: 'application',
                'bom-ref': own,
                name: packageJson.name,
                version: packageJson.version,
                licenses: [{ license: { id: packageJson.license } }],
                components: executables.map(({ path, sha256 }) => file(path, sha256, `${own}#${path}`)),
            },
        },
        components,
        dependencies: [{ ref: own, dependsOn: components.map((component) => component['bom-ref']) }],
    }
    return { serialNumber: `urn:uuid:${uuidOf(JSON.stringify(document))}`, ...document }
}

const file = (name: string, sha256: string, ref: string) => ({
    type: 'file',
    'bom-ref': ref,
    name,
    hashes: [{ alg: 'SHA-256', content: sha256 }],
})

function named(name: string): { readonly group?: string; readonly name: string } {
    const [group, rest] = name.split('/')
    return rest === undefined ? { name } : { group: group ?? '', name: rest }
}

// Of the contents: the same build has the same number. RFC 9562 §5.8
function uuidOf(text: string): string {
    const bytes = createHash('sha256').update(text).digest().subarray(0, 16)
    bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80
    bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
}
