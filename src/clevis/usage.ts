// What the pin's programs say of themselves.
// SPDX-License-Identifier: Apache-2.0

export const ENCRYPT_SUMMARY = 'Encrypts using a key that a key broker releases to attested guests'

export const ENCRYPT_USAGE = `Usage: clevis encrypt kbs CONFIG < PLAINTEXT > JWE
       clevis luks bind -d DEVICE kbs CONFIG

Seals with a key that a key broker releases to an attested confidential guest.

CONFIG is a JSON object:
  url       the broker, https://HOST[:PORT], or vsock://CID:PORT from a guest
            without network (the host is CID 2); or
  servers   several of them, tried in this order
  path      the resource, REPOSITORY/TYPE/TAG
  key_file  on a machine that is no guest: a file with the 32 random bytes of
            the resource (read, not stored)

Without key_file the broker must be trusted here (guest-attest trust add) and
release the key to this guest.

Examples:
  clevis luks bind -d /dev/vda3 kbs \\
      '{"url": "https://kbs.example:8443", "path": "default/luks/web-1"}'
  clevis luks bind -d disk.img sss '{"t": 1, "pins": {
      "kbs": [{"url": "https://kbs.example:8443", "path": "default/luks/web-1"}],
      "tang": [{"url": "http://tang.example"}]}}'`

export const DECRYPT_USAGE = `Usage: clevis decrypt < JWE > PLAINTEXT

Opens what \`clevis encrypt kbs\` sealed, with a key that a key broker releases to
this attested guest.`

export const SEV_ENCRYPT_SUMMARY = 'Encrypts using a secret that is injected into SEV guests at their launch'

export const SEV_ENCRYPT_USAGE = `Usage: clevis encrypt sev CONFIG < PLAINTEXT > JWE
       clevis luks bind -d DEVICE sev CONFIG

Seals with a secret that the owner of an SEV or SEV-ES guest injects into it before
it runs. No broker is asked.

CONFIG is a JSON object:
  guid      the secret's, in lower case: one of your own
  key_file  on a machine that is no such guest: a file with the 32 random bytes
            of the secret (read, not stored)

Examples:
  clevis luks bind -d disk.img sev \\
      '{"guid": "5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e", "key_file": "disk.key"}'
  guest-attest sev inject --secret 5d7a3f42-8a3e-4f0c-9d55-6f8f4a1c2b7e:disk.key …`

export const SEV_DECRYPT_USAGE = `Usage: clevis decrypt < JWE > PLAINTEXT

Opens what \`clevis encrypt sev\` sealed, with the secret that was injected into this
guest. It is not wiped: the initrd does that when its volumes are open.`
