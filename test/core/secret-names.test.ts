// Names of injected secrets.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { DISK_GUID, secretGuid, secretName } from '#core/secret-names.ts'

const OTHER = 'e6f5a162-d67f-4750-a67c-5d065f2a9910'

for (const { text, guid, name } of [
    { text: 'luks-key', guid: DISK_GUID, name: 'luks-key' },
    { text: DISK_GUID, guid: DISK_GUID, name: 'luks-key' },
    { text: DISK_GUID.toUpperCase(), guid: DISK_GUID, name: 'luks-key' },
    { text: OTHER, guid: OTHER, name: null },
])
    test(`what it stands for: ${text}`, (t) => {
        t.is(secretGuid(text), guid)
        t.is(secretName(guid), name)
    })

for (const text of ['', 'Luks-Key', 'constructor', `${OTHER} `, OTHER.replaceAll('-', '')])
    test(`no name and no GUID: ${JSON.stringify(text)}`, (t) => t.is(secretGuid(text), null))
