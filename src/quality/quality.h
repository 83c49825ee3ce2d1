// SPDX-License-Identifier: Apache-2.0
// Data quality checks: Great Expectations suites (JSON, 1.x and 0.18 spelling) run over a table, all their aggregates in one scan; the
// answer is GX's ExpectationSuiteValidationResult as JSON, stored, and the rows that broke an expectation are kept for inspection.
//
// In SQL: check SCHEMA.TABLE using 'suite.json' [with (result_format = 'COMPLETE', keep_rows = 1000, name = '...')]
// Blocking: call from workers. A session is used by one thread at a time; struct quality may be used by several.
// Durable: the result file, when quality_check returned; kept rows are an ordinary table (quarantine.<table>_checks) of the lake.
#ifndef QUALITY_QUALITY_H
#define QUALITY_QUALITY_H

#include "base/err.h"
#include "base/mem.h"
#include "codec/json.h"
#include "engine/engine.h"
#include "sys/sys.h"

enum {
    QUALITY_SUITE_MAX = 4 << 20,        // bytes of a suite's JSON
    QUALITY_EXPECTATIONS_MAX = 1000,    // in one suite
    QUALITY_PARTIAL_LIST = 20,          // unexpected values shown (GX's partial_unexpected_count)
    QUALITY_COMPLETE_LIST = 10000,      // with result_format COMPLETE
    QUALITY_KEEP_ROWS = 1000,           // rows kept per expectation, by default
    QUALITY_RESULTS_KEPT = 1000,        // result files per table; the oldest go
};

struct quality;
struct quality_config {
    const char *checks_dir; // where results are stored: <checks_dir>/<schema>.<table>/<time>.json
    const char *suites_dir; // suite files named in SQL are looked up here and must be inside; NULL or "" = any .json file
};
// Registers the statement `check ...` with the engine. The engine outlives it, or closes its sessions first.
struct quality *quality_open(struct sys *s, struct engine *e, const struct quality_config *config, struct err *err);
void quality_close(struct quality *q);

// ---- suites -----------------------------------------------------------------------------------------------------------------
struct quality_suite;
// ERR_PARSE (not JSON), ERR_INVALID (not a suite; the message names the expectation), ERR_TOO_LARGE.
struct quality_suite *quality_suite_parse(struct str json, struct err *err);
void quality_suite_free(struct quality_suite *suite);
const char *quality_suite_name(const struct quality_suite *suite);
size_t quality_suite_size(const struct quality_suite *suite);
// Is the expectation type one that we evaluate? (0.18 and 1.x names are the same.)
bool quality_is_supported(const char *expectation_type);

// ---- running ----------------------------------------------------------------------------------------------------------------
enum quality_format { QUALITY_BOOLEAN_ONLY, QUALITY_BASIC, QUALITY_SUMMARY, QUALITY_COMPLETE }; // GX's result_format

struct quality_target {
    struct str from;  // what stands behind FROM: "silver"."flights", a temporary table, ...
    const char *name; // for messages and meta: silver.flights
    enum quality_format format;
};
// Evaluates the suite. *result: GX's result JSON (json_decref it). An expectation that cannot be evaluated (unknown column or type, a
// bad regular expression) is a failed one with exception_info, as in GX; only what stops the whole (table missing, cancelled) is an error.
enum err_code quality_run(struct quality *q, struct engine_session *s, const struct quality_suite *suite, const struct quality_target *target,
                          json_t **result, struct err *err);

// The whole of the statement: runs the suite over a table of the lake at its newest version, stores the result, keeps the failing rows.
// ERR_CHECK_FAILED when an expectation of severity "critical" (GX's default) failed: the message says which; *result is set then, too.
struct quality_check_options {
    enum quality_format format;
    int64_t keep_rows; // per expectation; 0 = none
};
enum err_code quality_check(struct quality *q, struct engine_session *s, const char *schema, const char *table, const struct quality_suite *suite,
                            const struct quality_check_options *options, json_t **result, struct err *err);

#endif
