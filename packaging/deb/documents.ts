// What a Debian package says of itself: copyright (machine-readable, DEP-5) and changelog.
// SPDX-License-Identifier: Apache-2.0

import { MAINTAINER } from './control.ts'

export const changelog = (version: string, epoch: number): string => `guest-attest (${version}) unstable; urgency=medium

  * Release ${version.replace(/-.*/, '')}: see the project's change log.

 -- ${MAINTAINER}  ${rfc5322(epoch)}
`

const rfc5322 = (epoch: number): string => new Date(epoch * 1000).toUTCString().replace('GMT', '+0000')

export const copyright = (): string => `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: guest-attest

Files: *
Copyright: the guest-attest authors
License: Apache-2.0
 On Debian systems the full text of this licence is in /usr/share/common-licenses/Apache-2.0.
`
