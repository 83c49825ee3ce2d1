// SPDX-License-Identifier: Apache-2.0
// Every expectation type that we evaluate, once.
#include "quality/table.h"

static const struct quality_expectation expectations[] = {
    // one value at a time
    {"expect_column_values_to_not_be_null", SHAPE_MAP, map_null, NULL, 1},
    {"expect_column_values_to_be_null", SHAPE_MAP, map_null, NULL, 0},
    {"expect_column_values_to_be_unique", SHAPE_MAP, map_unique, NULL, 0},
    {"expect_column_values_to_be_between", SHAPE_COLUMN_MAP, map_between, NULL, 0},
    {"expect_column_values_to_be_in_set", SHAPE_COLUMN_MAP, map_in_set, NULL, 0},
    {"expect_column_values_to_not_be_in_set", SHAPE_COLUMN_MAP, map_in_set, NULL, 1},
    {"expect_column_values_to_match_regex", SHAPE_COLUMN_MAP, map_regex, NULL, 0},
    {"expect_column_values_to_not_match_regex", SHAPE_COLUMN_MAP, map_regex, NULL, 1},
    {"expect_column_values_to_match_regex_list", SHAPE_COLUMN_MAP, map_regex_list, NULL, 0},
    {"expect_column_values_to_not_match_regex_list", SHAPE_COLUMN_MAP, map_regex_list, NULL, 1},
    {"expect_column_values_to_match_like_pattern", SHAPE_COLUMN_MAP, map_like, NULL, 0},
    {"expect_column_values_to_not_match_like_pattern", SHAPE_COLUMN_MAP, map_like, NULL, 1},
    {"expect_column_values_to_match_like_pattern_list", SHAPE_COLUMN_MAP, map_like_list, NULL, 0},
    {"expect_column_values_to_not_match_like_pattern_list", SHAPE_COLUMN_MAP, map_like_list, NULL, 1},
    {"expect_column_value_lengths_to_be_between", SHAPE_COLUMN_MAP, map_length, NULL, 0},
    {"expect_column_value_lengths_to_equal", SHAPE_COLUMN_MAP, map_length, NULL, 1},
    {"expect_column_values_to_be_json_parseable", SHAPE_COLUMN_MAP, map_json_parseable, NULL, 0},
    {"expect_column_values_to_match_strftime_format", SHAPE_COLUMN_MAP, map_strftime, NULL, 0},
    {"expect_column_value_z_scores_to_be_less_than", SHAPE_COLUMN_MAP, map_z_score, NULL, 0},
    // several columns of a row
    {"expect_column_pair_values_to_be_equal", SHAPE_MAP, map_pair, NULL, PAIR_EQUAL},
    {"expect_column_pair_values_a_to_be_greater_than_b", SHAPE_MAP, map_pair, NULL, PAIR_GREATER},
    {"expect_column_pair_values_to_be_in_set", SHAPE_MAP, map_pair, NULL, PAIR_IN_SET},
    {"expect_compound_columns_to_be_unique", SHAPE_MAP, map_columns, NULL, COLUMNS_UNIQUE},
    {"expect_select_column_values_to_be_unique_within_record", SHAPE_MAP, map_columns, NULL, COLUMNS_DIFFER},
    {"expect_multicolumn_sum_to_equal", SHAPE_MAP, map_columns, NULL, COLUMNS_SUM},
    // one value of a column
    {"expect_column_max_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_MAX},
    {"expect_column_min_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_MIN},
    {"expect_column_mean_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_MEAN},
    {"expect_column_median_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_MEDIAN},
    {"expect_column_sum_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_SUM},
    {"expect_column_stdev_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_STDEV},
    {"expect_column_unique_value_count_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_UNIQUE_COUNT},
    {"expect_column_proportion_of_unique_values_to_be_between", SHAPE_VALUE, value_aggregate, finish_aggregate, AGGREGATE_UNIQUE_PROPORTION},
    {"expect_column_quantile_values_to_be_between", SHAPE_VALUE, value_quantiles, finish_quantiles, 0},
    {"expect_column_distinct_values_to_be_in_set", SHAPE_VALUE, value_distinct, finish_distinct, DISTINCT_IN_SET},
    {"expect_column_distinct_values_to_contain_set", SHAPE_VALUE, value_distinct, finish_distinct, DISTINCT_CONTAIN_SET},
    {"expect_column_distinct_values_to_equal_set", SHAPE_VALUE, value_distinct, finish_distinct, DISTINCT_EQUAL_SET},
    {"expect_column_most_common_value_to_be_in_set", SHAPE_VALUE, value_most_common, finish_most_common, 0},
    // the table
    {"expect_table_row_count_to_equal", SHAPE_VALUE, value_row_count, finish_row_count, COUNT_EQUAL},
    {"expect_table_row_count_to_be_between", SHAPE_VALUE, value_row_count, finish_row_count, COUNT_BETWEEN},
    {"expect_table_row_count_to_equal_other_table", SHAPE_VALUE, value_row_count, finish_row_count, COUNT_OTHER_TABLE},
    {"expect_table_column_count_to_equal", SHAPE_VALUE, value_nothing, finish_column_count, COUNT_EQUAL},
    {"expect_table_column_count_to_be_between", SHAPE_VALUE, value_nothing, finish_column_count, COUNT_BETWEEN},
    {"expect_table_columns_to_match_ordered_list", SHAPE_VALUE, value_nothing, finish_columns, COLUMNS_ORDERED},
    {"expect_table_columns_to_match_set", SHAPE_VALUE, value_nothing, finish_columns, COLUMNS_SET},
    {"expect_column_to_exist", SHAPE_VALUE, value_nothing, finish_columns, COLUMN_EXISTS},
    {"expect_column_values_to_be_of_type", SHAPE_VALUE, value_nothing, finish_columns, COLUMN_TYPE},
    {"expect_column_values_to_be_in_type_list", SHAPE_VALUE, value_nothing, finish_columns, COLUMN_TYPES},
    {"unexpected_rows_expectation", SHAPE_VALUE, value_query, finish_query, 0},
};

const struct quality_expectation *quality_expectation_find(const char *type) {
    for (size_t i = 0; i < sizeof expectations / sizeof expectations[0]; i++)
        if (str_eqc(str_c(type), expectations[i].type))
            return &expectations[i];
    return NULL;
}

bool quality_is_supported(const char *type) { return quality_expectation_find(type) != NULL; }
