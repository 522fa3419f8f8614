// Where a broker is: what is taken for an origin, and the one text that each has.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { openSession } from '#core/http.ts'
import { isNameless, parseOrigin } from '#core/origin.ts'

const LONGEST = `/${'x'.repeat(106)}`

for (const { text, want = text, host, nameless = true } of [
    { text: 'https://KBS.example:443', want: 'https://kbs.example', host: 'kbs.example', nameless: false },
    { text: 'vsock://2:8443', host: '2:8443' },
    { text: 'vsock://2:8443/', want: 'vsock://2:8443', host: '2:8443' },
    { text: 'vsock://1:1', host: '1:1' },
    { text: 'vsock://4294967294:4294967294', host: '4294967294:4294967294' },
    { text: 'unix:///run/kbs.sock', host: 'localhost' },
    { text: 'unix:///a/..b/.c/@d+e:f', host: 'localhost' },
    { text: `unix://${LONGEST}`, host: 'localhost' },
])
    test(`an origin: ${text.slice(0, 40)}`, (t) => {
        const origin = parseOrigin(text)
        t.is(origin.origin, want)
        t.is(parseOrigin(origin.origin).origin, want)
        t.is(origin.host, host)
        t.is(isNameless(origin), nameless)
    })

for (const text of [
    'vsock:',
    'vsock:2:8443',
    'vsock://2',
    'vsock://2:',
    'vsock://:8443',
    'vsock://0:8443',
    'vsock://2:0',
    'vsock://02:8443',
    'vsock://2:08443',
    'vsock://0x2:8443',
    'vsock://-1:8443',
    'vsock://host:8443',
    'vsock://4294967295:8443',
    'vsock://2:4294967295',
    'vsock://99999999999:1',
    'vsock://2:8443/x',
    'vsock://2:8443?x',
    'vsock://a@2:8443',
    'VSOCK://2:8443',
    'vsock://２:8443',
    'unix:/run/kbs.sock',
    'unix://run/kbs.sock',
    'unix:///',
    'unix:///run/',
    'unix:///run//kbs.sock',
    'unix:///run/../kbs.sock',
    'unix:///run/./kbs.sock',
    'unix:///run/..',
    'unix:///run/kbs sock',
    'unix:///run/kbs%2fsock',
    'unix:///run/kbs.sock?x',
    'unix:///run/kbs\n.sock',
    `unix://${LONGEST}x`,
])
    test(`no origin: ${JSON.stringify(text.slice(0, 40))}`, (t) => {
        t.throws(() => parseOrigin(text), {
            code: 'ERR_URL',
            message: /expected (?:vsock:\/\/CID:PORT|unix:\/\/\/PATH)/,
        })
    })

test('what nobody can dial is a mistake of the program', async (t) => {
    const session = openSession(parseOrigin('https://127.0.0.1:1'), { trust: { pins: [] } })
    session.close()
    t.throws(() => openSession(parseOrigin('vsock://2:8443'), { trust: { pins: [] } }), {
        instanceOf: TypeError,
        message: 'nobody here can dial vsock://2:8443',
    })
})
