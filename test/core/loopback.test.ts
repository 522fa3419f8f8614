// What is on this machine, and what only looks as if it were.
// SPDX-License-Identifier: Apache-2.0

import test from 'ava'
import { isLoopback } from '#core/loopback.ts'

for (const { hosts, want } of [
    { want: true, hosts: ['localhost', '127.0.0.1', '127.255.255.254', '::1', '[::1]', '::ffff:127.0.0.1'] },
    { want: false, hosts: ['', '0.0.0.0', '128.0.0.1', '::', '[::]', '::2', '::ffff:192.0.2.1', '[::1', '::ffff:::1'] },
    {
        want: false,
        hosts: ['127.0.0.1.example', '127.example', '127.0.0.256', '127.1', 'localhost.example', 'x127.0.0.1'],
    },
])
    for (const host of hosts)
        test(`${host || 'nothing'} is ${want ? 'this machine' : 'elsewhere'}`, (t) => {
            t.is(isLoopback(host), want)
        })
