// What all peers hold together, and what one address may hold of it: connections, bytes of bodies, sessions. So that nobody
// takes everything, and what is refused to one is still there for the others.
// SPDX-License-Identifier: Apache-2.0

import { isIP } from 'node:net'

export interface Shares {
    /** Whether so much more would fit. */
    fits(address: string, amount: number): boolean
    /** Takes it; false, and nothing is taken, where it does not fit. */
    take(address: string, amount: number): boolean
    /** Gives back what was taken. */
    give(address: string, amount: number): void
}

export interface SharesOptions {
    readonly most: number
    /** Of one address. */
    readonly mostOfOne: number
}

export function shares({ most, mostOfOne }: SharesOptions): Shares {
    const held = new Map<string, number>()
    let all = 0
    const fits = (network: string, amount: number) =>
        all + amount <= most && (held.get(network) ?? 0) + amount <= mostOfOne
    const add = (network: string, amount: number) => {
        all += amount
        const now = (held.get(network) ?? 0) + amount
        if (now > 0) held.set(network, now)
        else held.delete(network)
    }
    return {
        fits: (address, amount) => fits(networkOf(address), amount),
        take(address, amount) {
            const network = networkOf(address)
            if (!fits(network, amount)) return false
            add(network, amount)
            return true
        },
        give: (address, amount) => add(networkOf(address), -amount),
    }
}

/** What counts as one address: of IPv6 the first 64 bits, which whoever has one address has whole. */
export function networkOf(address: string): string {
    const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
    if (mapped !== undefined || isIP(address) !== 6) return mapped ?? address
    const [before = '', after = ''] = address.split('::')
    const groups = before === '' ? [] : before.split(':')
    // What `::` stands for reaches into the first half where that is not whole, or there is nothing but it behind.
    const zeros = 8 - groups.length - (after === '' ? 0 : after.split(':').length)
    return [...groups, ...Array<string>(Math.max(0, zeros)).fill('0'), ...after.split(':')].slice(0, 4).join(':')
}
