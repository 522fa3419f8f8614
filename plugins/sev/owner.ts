// What the owner of a guest, and its host, need of this technology, for the commands of `sev`, which may know no file of
// a plugin: loaded through src/plugins.ts.
// SPDX-License-Identifier: Apache-2.0

export { AEB_WARNING, answerAeb, retrieveEvidence } from './aeb/client.ts'
export { encodeAebEvidence, isAebEvidence, MAX_AEB_EVIDENCE, parseAebEvidence } from './aeb/evidence.ts'
export { REPORT_SIZE, verifyReport } from './aeb/report.ts'
export { AMD_SERVICE, fetchCek } from './chain/cek.ts'
export { CHAIN_CHECKS, readChain, verifyChain } from './chain/chain.ts'
export { LEAST_API, requireFirmware } from './chain/firmware.ts'
export { sevError } from './errors.ts'
export { describeTerms } from './launch/describe.ts'
export { launchDigest } from './launch/digest.ts'
export { migrationRisk, readPolicy, requirePolicy } from './launch/guest-policy.ts'
export { openLaunch, packSecrets, validateLaunch } from './launch/launch.ts'
export { DIGEST_SIZE, LAUNCH_MEASURE, measuredDigest } from './launch/measurement.ts'
export { USUAL_AREA } from './launch/secret-table.ts'
export { NO_KERNEL } from './launch/terms.ts'
export { TEE } from './tee.ts'
export { WEAKNESSES, weaknessesOf } from './weaknesses.ts'
