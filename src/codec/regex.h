// SPDX-License-Identifier: Apache-2.0
// Regular expressions in the part of Java's syntax that configurations use: literals, ., [classes], \d \w \s and their opposites, \b-less anchors
// ^ and $, groups (also (?:...)), alternatives, * + ? {n,m}, each also lazy. No look-around, back references or flags.
//
// A compiled one is read-only; any thread. Matching goes back and forth with a bounded number of steps: a pattern that would need more does not
// match. Bytes above 127 are letters of their own (UTF-8 sequences match as bytes; . takes a whole sequence).
#ifndef CODEC_REGEX_H
#define CODEC_REGEX_H

#include "base/err.h"
#include "base/str.h"

enum { REGEX_TEXT_MAX = 4096, REGEX_GROUPS = 10, REGEX_STEPS_MAX = 200000 };

struct regex;
struct regex *regex_compile(struct str text, struct err *err); // ERR_PARSE says the place
void regex_free(struct regex *r);
// Does it match the whole text? groups[0] is the text, the others are what was captured (p NULL = took no part).
bool regex_match(const struct regex *r, struct str text, struct str groups[REGEX_GROUPS]);

#endif
