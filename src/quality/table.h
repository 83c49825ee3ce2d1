// SPDX-License-Identifier: Apache-2.0
// The functions that the table of expectations (table.c) points at. See internal.h for what they must do.
#ifndef QUALITY_TABLE_H
#define QUALITY_TABLE_H

#include "quality/internal.h"

enum { PAIR_EQUAL, PAIR_GREATER, PAIR_IN_SET };
enum { COLUMNS_UNIQUE, COLUMNS_DIFFER, COLUMNS_SUM };
enum { DISTINCT_IN_SET, DISTINCT_CONTAIN_SET, DISTINCT_EQUAL_SET };
enum {
    AGGREGATE_MAX,
    AGGREGATE_MIN,
    AGGREGATE_MEAN,
    AGGREGATE_MEDIAN,
    AGGREGATE_SUM,
    AGGREGATE_STDEV,
    AGGREGATE_UNIQUE_COUNT,
    AGGREGATE_UNIQUE_PROPORTION
};
enum { COUNT_EQUAL, COUNT_BETWEEN, COUNT_OTHER_TABLE };
enum { COLUMNS_ORDERED, COLUMNS_SET, COLUMN_EXISTS, COLUMN_TYPE, COLUMN_TYPES };

typedef const char *quality_compile_fn(struct quality_run *r, struct quality_item *it);
typedef void quality_finish_fn(struct quality_run *r, struct quality_item *it);

// SHAPE_COLUMN_MAP (map.c)
quality_compile_fn map_between, map_in_set, map_regex, map_regex_list, map_like, map_like_list, map_length, map_json_parseable, map_strftime,
    map_z_score;
// SHAPE_MAP
quality_compile_fn map_null, map_unique, map_pair, map_columns;
const char *map_column(struct quality_run *r, struct quality_item *it); // runs a SHAPE_COLUMN_MAP

// SHAPE_VALUE (value.c)
quality_compile_fn value_aggregate, value_quantiles, value_distinct, value_most_common, value_row_count, value_nothing, value_query;
quality_finish_fn finish_aggregate, finish_quantiles, finish_distinct, finish_most_common, finish_row_count, finish_column_count, finish_columns,
    finish_query;

#endif
