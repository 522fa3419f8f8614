// A placeholder until written below.
// SPDX-License-Identifier: Apache-2.0
import type { Row } from './table.ts'
export const benchBroker = async (): Promise<Row[]> => []
