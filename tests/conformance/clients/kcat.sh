#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kcat (Debian's, with its librdkafka): produce with all five codecs, consume, a group, metadata. One line a check: kcat.sh BROKER RUN
set -uo pipefail
broker=$1 topic=kcat-$2
check() { # NAME WANTED GOT
    if [ "$2" = "$3" ]; then echo "ok $1"; else echo "FAIL $1 got ${3:0:200}, not ${2:0:200}"; fi
}
for codec in none gzip snappy lz4 zstd; do
    seq -f "$codec %g" 1000 | kcat -q -b "$broker" -P -t "$topic-$codec" -p 0 -z $codec -X enable.idempotence=true
    check "produce and consume, $codec" "$(seq -f "$codec %g" 1000 | sha256sum)" "$(kcat -q -b "$broker" -C -t "$topic-$codec" -p 0 -o beginning -e | sha256sum)"
done
printf 'k1:v1\nk2:v2\n' | kcat -q -b "$broker" -P -t "$topic" -p 0 -K : -H a=b
check "keys and headers" "a=b k1 v1,a=b k2 v2," "$(kcat -q -b "$broker" -C -t "$topic" -p 0 -o beginning -e -f '%h %k %s,')"
check "metadata" "1" "$(kcat -b "$broker" -L -J | grep -c "\"topic\":\"$topic-zstd\"")"
check "offsets by time" "$topic-zstd [0] offset 0" "$(kcat -b "$broker" -Q -t "$topic-zstd:0:1000000000000" 2>/dev/null)"
check "group" 1000 "$(timeout 30 kcat -q -b "$broker" -G "g-$topic" -X auto.offset.reset=earliest -c 1000 "$topic-zstd" 2>/dev/null | wc -l)"
check "group goes on where it was" "1001" "$(echo 1001 | kcat -q -b "$broker" -P -t "$topic-zstd" -p 0; timeout 30 kcat -q -b "$broker" -G "g-$topic" -X auto.offset.reset=earliest -c 1 "$topic-zstd" 2>/dev/null)"
