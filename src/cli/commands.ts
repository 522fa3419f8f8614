// Every command of the program, in the order in which `--help` lists them.
// SPDX-License-Identifier: Apache-2.0

import type { CommandRow } from './command.ts'

export const COMMANDS: readonly CommandRow[] = [
    { signature: 'detect', describe: 'what this guest is', load: () => import('./detect.ts') },
    {
        signature: 'doctor',
        describe: 'what is there, what is missing, what to do',
        load: () => import('./doctor/doctor.ts'),
    },
    { signature: 'evidence', describe: 'prove what this guest is', load: () => import('./evidence.ts') },
    { signature: 'derive-key', describe: 'a key that only this guest has', load: () => import('./derive-key.ts') },
    {
        signature: 'registers',
        describe: 'what this guest measures while it runs',
        load: () => import('./registers/group.ts'),
    },
    {
        signature: 'secrets',
        describe: 'what was injected into this guest before it ran',
        load: () => import('./secrets/group.ts'),
    },
    { signature: 'verify <file>', describe: 'judge a proof', load: () => import('./verify.ts') },
    { signature: 'inspect <file>', describe: 'read a proof, field by field', load: () => import('./inspect.ts') },
    { signature: 'measure', describe: 'what a guest should measure', load: () => import('./measure/group.ts') },
    {
        signature: 'collateral',
        describe: 'what vendors sign of their platforms',
        load: () => import('./collateral/group.ts'),
    },
    { signature: 'policy', describe: 'appraisal policies', load: () => import('./policy/group.ts') },
    { signature: 'trust', describe: 'which brokers this guest believes', load: () => import('./trust/group.ts') },
    { signature: 'get-resource <uri>', describe: 'fetch a resource', load: () => import('./get-resource.ts') },
    { signature: 'luks', describe: 'disks and their headers', load: () => import('./luks/group.ts') },
    {
        signature: 'boot-report',
        describe: 'what the initrd of this boot did to open its volumes',
        load: () => import('./boot-report.ts'),
    },
    {
        signature: 'relay',
        describe: 'carry guests without network to a broker, on their host',
        load: () => import('./relay/command.ts'),
    },
    {
        signature: 'sev',
        describe: 'launch guests of SEV and SEV-ES: sessions, measurements, secrets',
        load: () => import('./sev/group.ts'),
    },
    { signature: 'broker', describe: 'run and administer a key broker', load: () => import('./broker/group.ts') },
    {
        signature: 'emulate',
        describe: 'run a command in an emulated guest',
        load: async () => ({ command: await (await import('./emulate/emulate.ts')).emulateCommand() }),
    },
    { signature: 'config', describe: 'what configuration is in force', load: () => import('./config.ts') },
    {
        signature: 'completion [shell]',
        describe: 'a completion script',
        load: async () => ({ command: (await import('./completion.ts')).completionCommand(COMMANDS) }),
    },
]
