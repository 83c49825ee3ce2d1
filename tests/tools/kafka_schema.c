// SPDX-License-Identifier: Apache-2.0
// Prints every message and version out of the compiled field tables, in the form of the reference dump; tools/gen-kafka --check compares.
// So the tables are checked as the interpreter sees them, not as the generator meant them. With an argument it also says what the dump does not,
// the APIs' keys and which structs may be null: tests/clients/kafka_frames.py writes and reads messages by it.
#include <stdbool.h>
#include <stdio.h>

#include "kafka/messages.h"

static const char *const type_names[] = {
    [KAFKA_BOOL] = "boolean",    [KAFKA_INT8] = "int8",       [KAFKA_INT16] = "int16", [KAFKA_UINT16] = "uint16",
    [KAFKA_INT32] = "int32",     [KAFKA_INT64] = "int64",     [KAFKA_FLOAT64] = "float64", [KAFKA_STRING] = "string",
    [KAFKA_BYTES] = "bytes",     [KAFKA_RECORDS] = "records", [KAFKA_UUID] = "uuid",   [KAFKA_STRUCT] = "struct",
};

static bool whole;

static void print_struct(const struct kafka_struct *s, int version, bool flexible, int depth) {
    for (size_t i = 0; i < s->n; i++) {
        const struct kafka_field *f = &s->fields[i];
        if (version < f->min || version > f->max) continue;
        bool varies = f->type == KAFKA_STRING || f->type == KAFKA_BYTES || f->type == KAFKA_RECORDS;
        bool array = f->shape == KAFKA_SHAPE_ARRAY, null = version >= f->null_min && version <= f->null_max;
        printf("%*s", depth, "");
        if (f->tag >= 0) printf("tag %d ", f->tag);
        printf("%s: ", f->name);
        if ((varies || array) && flexible) printf("compact_");
        if (null && (f->shape != KAFKA_SHAPE_POINTER || whole)) printf("nullable_");
        if (array) printf("array of %s", varies && flexible ? "compact_" : "");
        printf("%s\n", type_names[f->type]);
        if (f->sub != NULL) print_struct(f->sub, version, flexible, depth + 2);
    }
    if (flexible) printf("%*stagged_fields\n", depth, "");
}

static void print_message(const struct kafka_message *m, int header, int key) {
    for (int v = m->min; v <= m->max; v++) {
        printf("== %s v%d", m->name, v);
        if (header >= 0) printf(" header v%d", header + (v >= m->header_flexible));
        if (whole && key >= 0) printf(" key %d", key);
        printf("\n");
        print_struct(m->body, v, v >= m->flexible, 2);
    }
}

int main(int argc, char **argv) {
    (void)argv;
    whole = argc > 1;
    for (size_t i = 0; i < kafka_apis_n; i++) {
        print_message(kafka_apis[i].request, 1, kafka_apis[i].key);
        print_message(kafka_apis[i].response, 0, kafka_apis[i].key);
    }
    for (size_t i = 0; i < kafka_data_messages_n; i++) print_message(kafka_data_messages[i], -1, -1);
    return 0;
}
