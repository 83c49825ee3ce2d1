// SPDX-License-Identifier: Apache-2.0
// What the files of the registry door share: answers, parameters, the table of handlers.
#ifndef REGISTRY_API_H
#define REGISTRY_API_H

#include "codec/json.h"
#include "httpd/httpd.h"
#include "subjects/subjects.h"

#define API_CONTENT_TYPE "application/vnd.schemaregistry.v1+json"

static inline struct subjects *reg_api_subjects(const struct httpd_request *r) { return r->arg; }

// Answers; each gives ERR_OK, so that a handler can return it.
enum err_code reg_api_reply(struct httpd_request *r, json_t *j);                                // 200; takes j
enum err_code reg_api_fault(struct httpd_request *r, int code, const char *msg);                // a registry error code (40401, 409, ...)
enum err_code reg_api_versions(struct httpd_request *r, const int32_t *versions, size_t n);     // [1, 2] after offset and limit
enum err_code reg_api_schema_text(struct httpd_request *r, const struct subjects_schema *v);    // the schema alone

// Parameters. false: the answer is written.
bool reg_api_version(struct httpd_request *r, int32_t *version); // path {version}: a number, "latest", "-1"
bool reg_api_id(struct httpd_request *r, int32_t *id);           // path {id}
bool reg_api_flag(struct httpd_request *r, const char *name, bool *out);
bool reg_api_page(struct httpd_request *r, size_t n, size_t *from, size_t *to); // offset, limit of a list of n
const char *reg_api_subject(struct httpd_request *r);            // path {subject}, without the default context ":.:"

// A schema as the body has it. *body is the caller's to free, also when it fails.
bool reg_api_new(struct httpd_request *r, json_t **body, struct subjects_new *out);
json_t *reg_api_schema_json(const struct subjects_schema *v, bool with_subject);

#define HANDLERS(H)                                                                                                                          \
    H(reg_root) H(reg_types) H(reg_schemas) H(reg_by_id) H(reg_id_schema) H(reg_id_subjects) H(reg_id_versions) H(reg_subjects)               \
    H(reg_versions) H(reg_version) H(reg_version_schema) H(reg_referenced_by) H(reg_metadata) H(reg_register) H(reg_lookup)                   \
    H(reg_delete_subject) H(reg_delete_version) H(reg_check_all) H(reg_check_version) H(reg_get_config) H(reg_put_config)                     \
    H(reg_delete_config) H(reg_get_mode) H(reg_put_mode) H(reg_delete_mode) H(reg_contexts) H(reg_meta_id) H(reg_meta_version)                \
    H(reg_no_associations) H(reg_not_supported)
#define DECLARE(name) enum err_code name(struct httpd_request *r, struct err *err);
HANDLERS(DECLARE)
#undef DECLARE

#endif
