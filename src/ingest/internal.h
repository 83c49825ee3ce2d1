// SPDX-License-Identifier: Apache-2.0
// Inside the ingest room: one copy under way (ingest.c), its reader (reader.c) and its dead letters (dlq.c).
#ifndef INGEST_INTERNAL_H
#define INGEST_INTERNAL_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/vec.h"
#include "topics/topics.h"
#include "engine/engine.h"
#include "ingest/ingest.h"
#include "log/batch.h"
#include "schema/avro.h"
#include "sys/sys.h"

enum { INGEST_META_COLUMNS = 4 }; // _partition, _offset, _timestamp, _key: behind the value's columns

// ---- dead letters -------------------------------------------------------------------------------------------------------
// Never doubled: a dead letter is durable before the Delta commit that takes its offset, and that commit keeps the end of the dead-letter topic
// (`position`). A run that follows a crash reads the topic from there and leaves out what is in it already.
struct dead_letters {
    struct topics *topics;
    const char *topic;  // of dead letters
    const char *source; // topic
    const char *source_id; // of the topic: one that is made again has another
    const char *table;  // "bronze.flights"
    struct sys_mutex mutex;
    struct map seen;    // "partition/offset" that are in the topic already
    int64_t position;   // next offset of the dead-letter topic
    bool ready;         // the topic is there
    _Atomic int64_t n;  // events rejected in this run (also those seen before)
};

void dead_letters_init(struct dead_letters *d, struct topics *t, const char *topic, const char *source, const char *source_id, const char *table);
void dead_letters_fini(struct dead_letters *d);
// Reads what a run that did not commit left behind `position` (-1 = the start).
enum err_code dead_letters_recover(struct dead_letters *d, int64_t position, struct err *err);
// One of them; the record's bytes live as long as the iterator that gave them.
struct dead_letter {
    int32_t partition, schema_id; // -1 = none
    struct batch_record record;
    const char *reason;
};
enum { DEAD_LETTERS_MAX = 500, DEAD_LETTERS_BYTES = 512 << 10 }; // of one append, which is one fdatasync
// Durable on return. Several threads may call it.
enum err_code dead_letters_add(struct dead_letters *d, const struct dead_letter *letters, size_t n, struct err *err);

// ---- the reader -----------------------------------------------------------------------------------------------------------
struct reader_partition {
    int32_t id;
    int64_t from, next, end; // offsets: where this run began, the next to take, the high watermark when it began
    bool busy;               // a thread reads its bytes
};

struct decoder {
    int32_t schema_id;
    struct avro_decoder *decoder; // NULL: `reason`
    char reason[256];
};

// A source of batches for the engine: raw batches of one partition at a time, decoded outside the lock. Several threads may call next.
struct reader {
    struct topics *topics;
    const struct schema_source *schemas;
    const char *topic;
    const struct avro_schema *schema; // of the rows: the newest of the topic
    const struct cols_schema *columns; // those of the value, those that only the table has, and the INGEST_META_COLUMNS
    size_t n_value;
    struct dead_letters *dead;
    struct sys_mutex mutex;
    struct sys_cond freed;
    VEC(struct reader_partition) partitions;
    size_t turn; // where the search for a free partition begins
    VEC(struct decoder *) decoders;
    _Atomic int64_t rows;
};

void reader_init(struct reader *r);
void reader_fini(struct reader *r);
struct cols_batch *reader_next(void *self, struct err *err); // engine_source's next

#endif
