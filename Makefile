# SPDX-License-Identifier: Apache-2.0
# One non-recursive Makefile. Variants by directory: make V=release (default), V=asan, V=tsan; CC=clang works too.
#   make            build/$(V)/millrace
#   make check      unit tests, floors, style, stale generated files (< 30 s)
#   make unit-ROOM  the unit tests of one room, e.g. make V=asan unit-log
V ?= release
B := build/$(V)
DEPS := build/deps
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif

PKGS := libmicrohttpd jansson yaml-0.1 snappy liblz4 libzstd zlib sqlite3 rdkafka libpq libcurl libcrypto libedit
CPPFLAGS := -Isrc -I$(DEPS)/duckdb -D_GNU_SOURCE $(shell pkg-config --cflags $(PKGS))
WARN := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wnull-dereference $(WERROR)
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fPIE -fno-plt -msse4.2
CFLAGS_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -fPIE -msse4.2
CFLAGS_tsan := -O1 -g -fsanitize=thread -fPIE -msse4.2
LDFLAGS_release := -pie -Wl,-z,relro,-z,now
LDFLAGS_asan := -pie -fsanitize=address,undefined
LDFLAGS_tsan := -pie -fsanitize=thread
CFLAGS := -std=c17 $(CFLAGS_$(V)) $(WARN) -MMD -MP
LDFLAGS := $(LDFLAGS_$(V)) -Wl,--as-needed
LIBS := $(shell pkg-config --libs $(PKGS)) -L$(DEPS)/duckdb -lduckdb -Wl,-rpath,'$$ORIGIN/../deps/duckdb' -lpthread -lm

SRC := $(wildcard src/*/*.c)
LIBSRC := $(filter-out src/cli/main.c,$(SRC))
OBJ := $(LIBSRC:src/%.c=$(B)/obj/%.o)
UNIT_SRC := $(wildcard tests/unit/*_test*.c)
UNIT := $(UNIT_SRC:tests/unit/%.c=$(B)/unit/%)
CRASH_SRC := $(wildcard tests/crash/*_test*.c)
CRASH := $(CRASH_SRC:tests/crash/%.c=$(B)/crash/%)
BENCH_SRC := $(wildcard bench/*_bench.c)
BENCH := $(BENCH_SRC:bench/%.c=$(B)/bench/%)

.PHONY: all unit crash check clean
all: $(B)/millrace
$(B)/millrace: $(B)/obj/cli/main.o $(B)/libmillrace.a
	$(CC) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a $(LIBS)
$(B)/libmillrace.a: $(OBJ)
	@rm -f $@
	ar rcs $@ $^
$(B)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<
$(B)/unit/%: tests/unit/%.c $(B)/libmillrace.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a -lcmocka $(LIBS)
$(B)/crash/%: tests/crash/%.c $(B)/libmillrace.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a -lcmocka $(LIBS)
$(B)/bench/%: bench/%.c $(B)/libmillrace.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(LDFLAGS) -o $@ $< $(B)/libmillrace.a -lcmocka $(LIBS)

unit: $(UNIT)
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(UNIT)
crash: $(CRASH)
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(CRASH)
unit-%: FORCE
	@$(MAKE) --no-print-directory V=$(V) $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/$*_test*.c))
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/$*_test*.c))
crash-%: FORCE
	@$(MAKE) --no-print-directory V=$(V) $(patsubst tests/crash/%.c,$(B)/crash/%,$(wildcard tests/crash/$*_test*.c))
	@CMOCKA_MESSAGE_OUTPUT=TAP prove -e '' $(patsubst tests/crash/%.c,$(B)/crash/%,$(wildcard tests/crash/$*_test*.c))
FORCE:
clean:
	rm -rf build/release build/asan build/tsan

-include $(OBJ:.o=.d) $(B)/obj/cli/main.d $(UNIT:=.d) $(CRASH:=.d) $(BENCH:=.d)
