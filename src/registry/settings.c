// SPDX-License-Identifier: Apache-2.0
// Compatibility levels and modes, global or of one subject (the route's data says which).
#include "registry/api.h"

static const char *target(struct httpd_request *r) { return r->route->data != NULL ? NULL : reg_api_subject(r); }

// ---- levels -----------------------------------------------------------------------------------------------------------------------------
enum err_code reg_get_config(struct httpd_request *r, struct err *err) {
    bool or_global;
    int level;
    if (!reg_api_flag(r, "defaultToGlobal", &or_global)) return ERR_OK;
    int code = subjects_get_level(reg_api_subjects(r), target(r), or_global, &level, err);
    if (code != SUBJECTS_OK) return reg_api_fault(r, code, err->msg);
    return reg_api_reply(r, json_pack("{s:s}", "compatibilityLevel", subjects_level_name(level)));
}

// What would change how schemas are compared or kept, and is not done here, is refused, not ignored.
static const char *unknown_setting(const json_t *body) {
    static const char *const names[] = {"alias", "compatibilityGroup", "compatibilityPolicy", "defaultMetadata", "overrideMetadata", "defaultRuleSet",
                                        "overrideRuleSet"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *v = json_object_get(body, names[i]);
        if (v != NULL && !json_is_null(v)) return names[i];
    }
    return NULL;
}

enum err_code reg_put_config(struct httpd_request *r, struct err *err) {
    json_t *body = httpd_body_json(r, err);
    if (body == NULL) return reg_api_fault(r, 400, err->msg);
    const char *unknown = unknown_setting(body);
    if (unknown != NULL) {
        reg_api_fault(r, SUBJECTS_NOT_SUPPORTED, arena_printf(r->arena, "the setting %s is not supported", unknown));
    } else {
        int level = subjects_level_of(json_get_str(body, "compatibility"));
        int code = subjects_set_level(reg_api_subjects(r), target(r), level, err);
        if (code != SUBJECTS_OK) reg_api_fault(r, code, err->msg);
        else reg_api_reply(r, json_pack("{s:s}", "compatibility", subjects_level_name(level)));
    }
    json_decref(body);
    return ERR_OK;
}

enum err_code reg_delete_config(struct httpd_request *r, struct err *err) {
    int level;
    int code = subjects_delete_level(reg_api_subjects(r), target(r), &level, err);
    if (code != SUBJECTS_OK) return reg_api_fault(r, code, err->msg);
    return reg_api_reply(r, json_pack("{s:s}", "compatibilityLevel", subjects_level_name(level)));
}

// ---- modes ------------------------------------------------------------------------------------------------------------------------------
enum err_code reg_get_mode(struct httpd_request *r, struct err *err) {
    bool or_global;
    int mode;
    if (!reg_api_flag(r, "defaultToGlobal", &or_global)) return ERR_OK;
    int code = subjects_get_mode(reg_api_subjects(r), target(r), or_global, &mode, err);
    if (code != SUBJECTS_OK) return reg_api_fault(r, code, err->msg);
    return reg_api_reply(r, json_pack("{s:s}", "mode", subjects_mode_name(mode)));
}

enum err_code reg_put_mode(struct httpd_request *r, struct err *err) {
    bool force;
    if (!reg_api_flag(r, "force", &force)) return ERR_OK;
    json_t *body = httpd_body_json(r, err);
    if (body == NULL) return reg_api_fault(r, 400, err->msg);
    int mode = subjects_mode_of(json_get_str(body, "mode"));
    int code = subjects_set_mode(reg_api_subjects(r), target(r), mode, force, err);
    if (code != SUBJECTS_OK) reg_api_fault(r, code, err->msg);
    else reg_api_reply(r, json_pack("{s:s}", "mode", subjects_mode_name(mode)));
    json_decref(body);
    return ERR_OK;
}

enum err_code reg_delete_mode(struct httpd_request *r, struct err *err) {
    int mode;
    int code = subjects_delete_mode(reg_api_subjects(r), target(r), &mode, err);
    if (code != SUBJECTS_OK) return reg_api_fault(r, code, err->msg);
    return reg_api_reply(r, json_pack("{s:s}", "mode", subjects_mode_name(mode)));
}
