// What can go wrong between this program and the kernel of its guest.
// SPDX-License-Identifier: Apache-2.0

import { type ErrorTable, errorsOf } from '#core/errors.ts'

export const DRIVER_ERRORS = {
    ERR_NO_TEE: { exit: 1, means: 'this machine is no confidential guest that a driver knows' },
    ERR_SEVERAL_TEES: { exit: 1, means: 'more than one driver takes this guest for its own' },
    ERR_VIA: { exit: 2, means: 'the kernel interface that was asked for does not answer here' },
    ERR_DEVICE_MISSING: { exit: 1, means: 'the guest is of this kind, but its kernel offers no device for it' },
    ERR_DEVICE_ACCESS: { exit: 3, means: 'the device may not be opened by this user' },
    ERR_DEVICE_KIND: { exit: 1, means: 'what stands at the place of a device is something else' },
    ERR_DEVICE_BUSY: { exit: 3, passes: true, means: 'another request is under way, or the host throttles' },
    ERR_DEVICE_THROTTLED: {
        exit: 3,
        means: 'the host refused for a minute, and the driver has dropped its message key',
    },
    ERR_DEVICE_KEY_LOST: { exit: 3, means: 'the driver has no message key any more' },
    ERR_DEVICE_REQUEST: { exit: 1, means: 'the kernel refuses the request as malformed' },
    ERR_DEVICE_RESPONSE: { exit: 3, means: 'what came back from the device is not what was asked for' },
    ERR_DEVICE_IO: { exit: 3, means: 'the request failed below the kernel interface' },
    ERR_DEVICE_GONE: { exit: 3, means: 'the device or its provider has gone' },
    ERR_TSM_PROVIDER: {
        exit: 1,
        means: 'configfs-tsm is served by another technology than the one that was asked for',
    },
    ERR_TSM_RACE: { exit: 3, passes: true, means: 'somebody else wrote to the same configfs-tsm entry' },
    ERR_TSM_EMPTY: { exit: 3, passes: true, means: 'the host answered with an empty report' },
    ERR_TSM_TOO_LARGE: { exit: 1, means: 'a report is larger than the kernel can hand over' },
    ERR_DEVICE_TIMEOUT: { exit: 3, passes: true, means: 'the host did not answer a request in time' },
    ERR_QUOTE_IN_FLIGHT: { exit: 3, passes: true, means: 'the host still works on a quote' },
    ERR_QUOTE_EMPTY: { exit: 3, passes: true, means: 'the host answered with an empty quote' },
    ERR_QUOTE_FAILED: { exit: 3, passes: true, means: 'the host could not make a quote' },
    ERR_QUOTE_UNAVAILABLE: { exit: 3, passes: true, means: 'the host has no quoting service, or it cannot be reached' },
    ERR_QUOTE_MESSAGE: { exit: 3, means: 'what the quoting service answered is malformed, too large, or cut off' },
    ERR_REGISTER: {
        exit: 2,
        means: 'a measurement register is not there, may not be extended, or a digest has not its size',
    },
    ERR_REGISTER_RACE: { exit: 3, means: 'a measurement register was extended by somebody else as well' },
    ERR_EVENT_LOG: { exit: 1, means: 'the event log of the firmware is malformed, or larger than is handed on' },
    ERR_EVENT_LOG_MISSING: { exit: 1, means: 'this guest has no event log' },
    ERR_SECRETS_NONE: { exit: 1, means: 'nothing was injected into this guest before it ran' },
    ERR_SECRETS_KERNEL: { exit: 1, means: 'the kernel is built without what shows injected secrets' },
    ERR_SECRETS_MODULE: { exit: 1, means: 'the module that shows injected secrets is not loaded' },
    ERR_SECRETS_SECURITYFS: {
        exit: 1,
        means: 'securityfs, in which the kernel shows injected secrets, is not mounted',
    },
    ERR_SECRETS_TABLE: { exit: 1, means: 'the kernel refuses the table of injected secrets, and shows none of them' },
    ERR_SECRET_MISSING: { exit: 1, means: 'no injected secret has this GUID, or it was wiped' },
    ERR_KEYRING: { exit: 3, means: 'the kernel’s keyring does not do what was asked for' },
    ERR_KEYRING_ALTERED: { exit: 3, means: 'what was handed over by the kernel’s keyring is gone, or was altered' },
    ERR_LOCK: { exit: 3, means: 'the lock that serialises requests could not be taken' },
} as const satisfies ErrorTable

export const driverError = errorsOf(DRIVER_ERRORS)
