// SPDX-License-Identifier: Apache-2.0
// The simulated operating system for tests: a disk in memory that models what a power cut leaves, a clock that only moves when
// told, seeded random, and in-memory stream sockets.
//
// Disk model: writes and truncations are visible at once and durable only after sys_fdatasync of that file; at a power cut each unsynced
// 512-byte sector is, by the seed, kept, lost (old content or zeros) or torn. Creations, renames, links and removals are durable only after
// sys_sync_dir of the directory; at a power cut each unsynced one is, by the seed, kept or undone (in order per directory: a prefix survives).
// Every disk operation has a number, from 1. From the crash point on, all operations fail with ERR_IO until sys_sim_reboot.
#ifndef SYS_SIM_H
#define SYS_SIM_H

#include "sys/sys.h"

struct sys *sys_sim_new(uint64_t seed);
void sys_sim_free(struct sys *s);

uint64_t sys_sim_ops(struct sys *s);                 // disk operations (that change or sync something) so far
void sys_sim_crash_at(struct sys *s, uint64_t op);   // this operation is the last one: it happens in part or not at all; 0 = never
bool sys_sim_crashed(struct sys *s);
void sys_sim_reboot(struct sys *s);                  // power cut: unsynced state is decided by the seed; open files become stale (close them); then all works again

enum sys_sim_fault { SYS_SIM_EIO, SYS_SIM_ENOSPC, SYS_SIM_SHORT, SYS_SIM_FSYNC };
void sys_sim_fail_at(struct sys *s, uint64_t op, enum sys_sim_fault fault); // the n-th operation from the start fails once. SHORT: a short read or write that is retried
void sys_sim_disk_size(struct sys *s, uint64_t bytes);                      // ENOSPC when the sum of file sizes would pass it; 0 = no limit
void sys_sim_corrupt(struct sys *s, const char *path, uint64_t offset);     // flips a bit
void sys_sim_advance(struct sys *s, int64_t us);                            // moves both clocks
void sys_sim_set_now(struct sys *s, int64_t us);

#endif
