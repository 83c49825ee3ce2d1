// SPDX-License-Identifier: Apache-2.0
// `copy into TABLE from topic TOPIC`: a topic's new events into a Delta table, exactly once.
//
// Offsets taken and rows are one Delta commit (the `txn` action, one per partition). Events that do not decode go to the dead-letter topic before
// that commit. Blocking; runs on the thread that runs the statement.
#ifndef INGEST_INGEST_H
#define INGEST_INGEST_H

#include "engine/engine.h"

// Registers the statement with the engine. The engine must outlive all sessions that may run it.
void ingest_register(struct engine *e);

#endif
