// An emulated secure processor: opens an owner's session, measures what it is given, opens the packet of secrets, and
// signs reports, by the rules of the real one. AMD 55766 (Secure Encrypted Virtualization API). Pure.
// SPDX-License-Identifier: Apache-2.0

import { createHash, diffieHellman, type KeyObject, randomBytes } from 'node:crypto'
import { type Secret, wipe } from '#core/bytes.ts'
import { REPORT, signedPart } from '../aeb/report.ts'
import { ALGORITHMS, EC_SIGNATURE_SIZE, makeSignature } from '../chain/algorithms.ts'
import { parseCertificate, USAGES } from '../chain/certs.ts'
import { type FirmwareVersion, formatFirmware, isAtLeast } from '../chain/firmware.ts'
import { sevError } from '../errors.ts'
import { POLICY } from '../launch/guest-policy.ts'
import { LAUNCH_MEASURE, launchMeasure } from '../launch/measurement.ts'
import { openPacket, type SecretPacket } from '../launch/packet.ts'
import { type TransportKeys, unwrapKeys } from '../launch/session.ts'

/** The keys of a platform that its firmware keeps. */
export interface ProcessorKeys {
    readonly pdh: KeyObject
    readonly pek: KeyObject
}

/** QEMU's names of a launch's states. */
export type LaunchState = 'launch-update' | 'launch-secret' | 'running'

/** One launch on it, from LAUNCH_START to LAUNCH_FINISH. */
export class EmulatedLaunch {
    readonly policy: number
    readonly firmware: FirmwareVersion
    #state: LaunchState = 'launch-update'
    readonly #keys: ProcessorKeys
    readonly #transport: TransportKeys
    readonly #hash = createHash('sha256')
    #launchDigest: Buffer = Buffer.alloc(0)
    #measurement: Buffer = Buffer.alloc(0)

    /**
     * LAUNCH_START.
     * @throws AttestError ERR_SEV_SESSION, ERR_SEV_CERTIFICATE, ERR_LENGTH, ERR_SEV_API
     */
    constructor(
        keys: ProcessorKeys,
        firmware: FirmwareVersion,
        { godh, session, policy }: { readonly godh: Buffer; readonly session: Buffer; readonly policy: number },
    ) {
        const { apiMajor, apiMinor } = POLICY.read(BigInt(policy))
        const least = { apiMajor, apiMinor }
        if (!isAtLeast(firmware, least))
            throw sevError('ERR_SEV_API', `the policy wants an API of at least ${formatFirmware(least)}`)
        const shared = diffieHellman({
            privateKey: keys.pdh,
            publicKey: parseCertificate(godh, 'PDH').publicKey,
        })
        try {
            this.#transport = unwrapKeys(session, shared, policy)
        } finally {
            wipe(shared)
        }
        this.#keys = keys
        this.firmware = firmware
        this.policy = policy
    }

    get state(): LaunchState {
        return this.#state
    }

    /** LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA: what is put into the guest's memory. */
    update(bytes: Uint8Array): void {
        this.#in('launch-update')
        this.#hash.update(bytes)
    }

    /** LAUNCH_MEASURE: 48 bytes; the same again when it is asked again. */
    measure(mnonce = randomBytes(16)): Buffer {
        if (this.#state === 'launch-update') {
            this.#launchDigest = this.#hash.digest()
            const { policy, firmware } = this
            const measured = { ...firmware, policy, launchDigest: this.#launchDigest, mnonce }
            const measure = launchMeasure(this.#transport.tik, measured)
            this.#measurement = LAUNCH_MEASURE.encode({ measure, mnonce })
            this.#state = 'launch-secret'
        }
        return Buffer.from(this.#measurement)
    }

    /** LAUNCH_SECRET: the table, as it appears in the guest's memory. @throws AttestError ERR_SEV_PACKET, ERR_LENGTH */
    inject(packet: SecretPacket): Secret {
        this.#in('launch-secret')
        return openPacket(this.#transport, this.#measurement.subarray(0, 32), packet)
    }

    /** LAUNCH_FINISH. */
    finish(): void {
        this.#in('launch-secret')
        wipe(this.#transport.tek, this.#transport.tik)
        this.#state = 'running'
    }

    /** ATTESTATION: 208 bytes. */
    report(mnonce: Buffer): Buffer {
        this.#in('running')
        const unsigned = REPORT.encode({
            mnonce,
            launchDigest: this.#launchDigest,
            policy: this.policy,
            sigUsage: USAGES.PEK,
            sigAlgo: ALGORITHMS.ECDSA_SHA256.id,
            signature: Buffer.alloc(EC_SIGNATURE_SIZE),
        })
        const signature = makeSignature(signedPart(unsigned), EC_SIGNATURE_SIZE, 'ECDSA_SHA256', this.#keys.pek)
        unsigned.set(signature, REPORT.fields.signature.offset)
        return unsigned
    }

    #in(state: LaunchState): void {
        if (this.#state !== state) throw new TypeError(`the launch is in the state ${this.#state}, not ${state}`)
    }
}
