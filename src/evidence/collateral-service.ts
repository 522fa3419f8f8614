// What a vendor's certificate service is to everybody else: the type of a plugin's collateral service. The plugin says
// what to ask for and judges what comes back; whoever calls it brings the network and the folder, so that nothing here
// touches either.
// SPDX-License-Identifier: Apache-2.0

import type { Evidence } from '#drivers/driver.ts'
import type { Trust } from './verifier.ts'

/** Loaded by whoever fetches or looks after collateral, and never to judge evidence. */
export interface CollateralService {
    /** How a platform is named on the command line, as an option of its own: `fmspc` is `--fmspc`. */
    readonly platform: { readonly option: string; readonly describe: string }
    /** Services that everybody may use, by the names of `--from`, and what each is. Any other is given by its address. */
    readonly sources: Readonly<Record<string, string>>
    /** The vendor's sets of statements, by the words of `--update`; the first is what is meant where nothing is said. */
    readonly updates: readonly string[]
    /** @throws AttestError ERR_USAGE */
    readPlatform(text: string): string
    /** Where evidence comes from, as far as it says itself. @throws AttestError mine, and malformed */
    platformOf(evidence: Evidence): string
    /**
     * Asks a service for all that evidence of a platform is judged by. What is returned has been verified: whoever writes
     * it writes nothing that a verifier would refuse.
     * @throws AttestError of the plugin; ERR_HTTP_*
     */
    fetch(wanted: CollateralWanted, deps: CollateralDeps): Promise<readonly CollateralFile[]>
    /** The platforms that statements are there for; files that cannot be read are passed over. */
    platformsIn(given: GivenCollateral): readonly string[]
    /** What is there, in the order in which it expires. @throws AttestError of the plugin: it cannot be read */
    describe(given: GivenCollateral, at: Date): readonly CollateralItem[]
    /** Until when evidence can be judged by what can be read of what is there. @throws AttestError of the plugin: of the evidence */
    outlook(given: GivenCollateral, evidence: Evidence, at: Date): Outlook
    /** All that evidence of a platform is judged by, as one file. @throws AttestError of the plugin: something is missing */
    bundle(given: GivenCollateral, platform: string, at: Date): Buffer
}

/** What was read from files, and the roots that replace the vendor's. */
export type GivenCollateral = Pick<Trust, 'roots' | 'certificates' | 'revocationLists' | 'statements'>

/** What to fetch, from whom, and what is there already. */
export interface CollateralWanted {
    readonly platform: string
    /** One of `sources`, or the origin of a service. */
    readonly source: string
    /** One of `updates`, or a number that the vendor gave a set: that very set then, also where a later one is there. */
    readonly update: string
    /** What is there already: what of it verifies is never replaced by what is older. */
    readonly present: GivenCollateral
}

export interface CollateralDeps {
    readonly get: HttpGet
    readonly now: Date
}

export type HttpGet = (url: string, limits: { readonly maxBytes: number }) => Promise<HttpAnswer>

/** An answer of an https server, whatever its status. */
export interface HttpAnswer {
    readonly status: number
    /** Names in lower case. */
    readonly headers: Readonly<Record<string, string>>
    readonly body: Buffer
}

/** A file of a collateral folder. Written in their order: what vouches for another comes before it. */
export interface CollateralFile {
    readonly name: string
    readonly bytes: Buffer
}

export interface CollateralItem {
    /** `TCB info of 90c06f000000`: the same for each that one replaces the other. */
    readonly what: string
    /** The file, and where in it. */
    readonly source: string
    readonly issued: Date
    readonly expires: Date
    /** What a person should know beside that. */
    readonly detail: string
    /** Whether a newer one of the same is there, so that nothing depends on this one. */
    readonly superseded: boolean
    /** Why a verifier would refuse it, or null. */
    readonly problem: string | null
}

export interface Outlook {
    readonly platform: string
    /** When the first thing expires that this evidence needs; null where something is missing or refused already. */
    readonly until: Date | null
    /** What that is. */
    readonly because: string
}
