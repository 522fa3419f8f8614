// Plain SEV for the launch service of a broker.
// SPDX-License-Identifier: Apache-2.0

import type { Plugin } from '#plugins/plugin.ts'

export const SEV_LAUNCH = {
    launch: async () => (await import('./launch-service.ts')).sevLaunch,
} as const satisfies Pick<Plugin, 'launch'>
