// The appraisal policy of SNP as TOML members: what each may be, and the strict values of those that are absent.
// SPDX-License-Identifier: Apache-2.0

import * as z from 'zod/mini'
import { issues } from '#core/schema.ts'
import type { Claims } from '#evidence/verdict.ts'
import type { Authentic, Policy } from '#evidence/verifier.ts'
import { snpError } from './errors.ts'
import { PLATFORM_INFO } from './report.ts'
import { PRODUCT_LINE_NAMES, PRODUCT_LINES, type ProductLineName, type TcbPart, tcbParts } from './tcb.ts'

const hex = (bytes: number) =>
    z.string().check(z.regex(new RegExp(`^[0-9a-fA-F]{${2 * bytes}}$`), `${bytes} bytes in hex`))
const lower = (bytes: number) =>
    z.pipe(
        hex(bytes),
        z.transform((text: string) => text.toLowerCase()),
    )
const some = <T extends z.ZodMiniType>(item: T) => z.array(item).check(z.minLength(1))

const svn = z.int().check(z.gte(0), z.lte(255))

// All parts of a line must be named: a part that is forgotten would be a door.
const minimumTcb = Object.fromEntries(
    PRODUCT_LINE_NAMES.map((line) => [
        line,
        z.optional(z.strictObject(Object.fromEntries(tcbParts(line).map((part) => [part, svn])))),
    ]),
) as Record<ProductLineName, z.ZodMiniOptional<z.ZodMiniObject<Record<string, typeof svn>>>>

const platformBits = Object.keys(PLATFORM_INFO.table) as (keyof typeof PLATFORM_INFO.table)[]

/** Absent lists are not checked, and that is printed; debug, migration and the VMPL are always checked. */
export const SNP_POLICY = z.strictObject({
    tee: z.optional(z.literal('snp')),
    measurements: z.optional(some(lower(48))),
    productLines: z.optional(some(z.enum(PRODUCT_LINE_NAMES))),
    minimumTcb: z.optional(z.strictObject(minimumTcb)),
    debug: z._default(z.boolean(), false),
    migration: z._default(z.boolean(), false),
    maxVmpl: z._default(z.int().check(z.gte(0), z.lte(3)), 0),
    chipIds: z.optional(some(z.union([lower(64), lower(8)]))),
    hostData: z.optional(some(lower(32))),
    idKeyDigests: z.optional(some(lower(48))),
    authorKeyDigests: z.optional(some(lower(48))),
    requiredPlatform: z.optional(some(z.enum(platformBits))),
    signingKeys: z.optional(some(z.enum(['VCEK', 'VLEK']))),
    vlekProviders: z.optional(some(z.string())),
})

export type SnpPolicy = z.infer<typeof SNP_POLICY>

/** @throws AttestError ERR_SNP_POLICY_FILE, naming the member */
export function readPolicy(members: Readonly<Record<string, unknown>>, title: string): Policy {
    const result = SNP_POLICY.safeParse(members)
    if (result.success) return result.data as unknown as Policy
    throw snpError('ERR_SNP_POLICY_FILE', `${title}: ${issues(result.error)}`, {
        hint: '`guest-attest policy init --from REPORT` writes a policy with every member explained',
    })
}

/** The plugin's own view of a policy that `readPolicy` made. */
export const snpPolicy = (policy: Policy): SnpPolicy => policy as unknown as SnpPolicy

/** The strictest policy that this evidence passes, as commented TOML. */
export function writePolicy({ claims }: Authentic): string {
    const line = claims['productLine'] as ProductLineName
    const reported = claims['reportedTcb'] as Readonly<Partial<Record<TcbPart, number>>>
    const platform = claims['platform'] as Claims
    const set = platformBits.filter((bit) => platform[bit] === true && bit !== 'smtEnabled')
    const policy = claims['policy'] as Claims
    const isVlek = claims['signingKey'] === 'VLEK'
    const chipId = String(claims['chipId']).slice(0, 2 * PRODUCT_LINES[line].chipIdSize)
    const refused = [
        ...(policy['debugAllowed'] ? ['debug'] : []),
        ...(policy['migrationAllowed'] ? ['migration'] : []),
        ...(claims['vmpl'] === 0 ? [] : ['VMPL']),
        ...(set.length > 0 ? [] : ['aliasCheckComplete']),
    ]
    return `# Appraisal policy for \`guest-attest verify --policy\` and for a broker's reference sets (there under [policy]).
# A list accepts any of its entries; what is left out is not checked, and \`verify\` says so.
${refused.length > 0 ? `# NOTE: the report that this was written from is refused by it: ${refused.join(', ')}.\n` : ''}tee = "snp"

# Digest of what the guest was launched with: the firmware, and with kernel hashes the kernel, initrd and command line.
measurements = ["${claims['measurement']}"]

# Lines of processors: ${PRODUCT_LINE_NAMES.join(', ')}. Milan's reports can be forged (\`inspect\` names the weaknesses).
productLines = ["${line}"]

# May the host read and write the guest's memory? Never true for a guest that keeps secrets.
debug = false

# May the guest be moved to another machine by a migration agent?
migration = false

# The least privileged level (VMPL) that a report may speak for: 0 is the guest's firmware and kernel.
maxVmpl = 0

# Which kinds of key may sign: VCEK of a chip, VLEK of a cloud provider.
signingKeys = ["${claims['signingKey']}"]
${isVlek ? `vlekProviders = [${JSON.stringify(claims['vlekProvider'])}]\n` : '# vlekProviders = ["cc-eu-west-1.amazonaws.com"]   # for VLEK: the providers it may be issued to\n'}
# Protections of the platform that must be on. aliasCheckComplete answers BadRAM.
requiredPlatform = [${(set.length > 0 ? set : ['aliasCheckComplete']).map((bit) => `"${bit}"`).join(', ')}]

# What the host put in at launch (32 bytes); a digest of initial data where the guest checks one.
hostData = ["${claims['hostData']}"]

# Keys that signed the guest's identity block (SHA-384 of the key as AMD lays it out).
${digestLine('idKeyDigests', claims['idKeyDigest'])}
${digestLine('authorKeyDigests', claims['authorKeyDigest'])}

# Only on this chip. Leave it out if the guest may start on another machine.
${isVlek || /^0*$/.test(chipId) ? '# chipIds = []' : `# chipIds = ["${chipId}"]`}

# The least firmware versions, for each line that is accepted; every part counts by itself.
[minimumTcb.${line}]
${Object.entries(reported)
    .map(([part, value]) => `${part} = ${value}`)
    .join('\n')}
`
}

const digestLine = (name: string, digest: unknown): string =>
    /^0*$/.test(String(digest)) ? `# ${name} = []` : `${name} = ["${String(digest)}"]`
