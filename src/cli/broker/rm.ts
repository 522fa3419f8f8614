// `broker rm`: erases a resource, every version of it.
// SPDX-License-Identifier: Apache-2.0

import { formatResourcePath, parseResourcePath } from '#kbs/messages.ts'
import { command as define } from '../command.ts'
import { note } from '../term.ts'
import { admin, DATA_OPTION, urlPath } from './admin.ts'

export const command = define({
    positionals: { path: 'REPOSITORY/TYPE/TAG' },
    options: DATA_OPTION,
    examples: [['default/tls/web-key', 'the resource is gone; what the audit log says of it stays']],
    details: 'A disk key that is erased is lost: whatever it alone opens stays shut.',
    async run(args) {
        const path = formatResourcePath(parseResourcePath(String(args['path'])))
        await admin(args.data).text({ method: 'DELETE', path: `/v1/resources/${urlPath(path)}` })
        note(`${path} is erased`)
        return 0
    },
})
