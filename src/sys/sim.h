// SPDX-License-Identifier: Apache-2.0
// The simulated operating system for tests: a disk in memory that models what a power cut leaves, a clock that only moves when
// told, seeded random, and in-memory stream sockets.
//
// Disk model: writes and truncations are visible at once and durable only after sys_fdatasync of that file; at a power cut each
// unsynced 512-byte sector is, by the seed, kept, lost (old content or zeros) or torn. Creations, renames, links and removals are
// durable only after sys_sync_dir of the directory; at a power cut each unsynced one is, by the seed, kept or undone (in order per
// directory: a prefix survives; a rename between directories may leave both names, never none). A failed sync forgets, as Linux does:
// a later sync that succeeds does not save what the failed one lost.
// Files opened SYS_DIRECT must be used in whole blocks: what is not aligned fails an assertion. A reserve is an operation too.
// Every disk operation that changes or syncs something has a number, from 1. From the crash point on, all operations fail with ERR_IO
// (syncs: ERR_SYNC_FAILED) until sys_sim_reboot. Paths: the root is there and empty; relative paths start at it.
// Any thread may call; the same seed gives the same fate when the order of operations is the same.
#ifndef SYS_SIM_H
#define SYS_SIM_H

#include "sys/sys.h"

struct sys *sys_sim_new(uint64_t seed);
void sys_sim_free(struct sys *s); // after all files, sockets and poll sets are closed

// ---- disk -----------------------------------------------------------------------------------------------------------
uint64_t sys_sim_ops(struct sys *s);                 // disk operations (that change or sync something) so far
uint64_t sys_sim_reads(struct sys *s);               // reads so far: a count of their own
void sys_sim_crash_at(struct sys *s, uint64_t op);   // this operation is the last one: it happens in part or not at all; 0 = never
bool sys_sim_crashed(struct sys *s);
// Power cut: unsynced state is decided by the seed; open files become stale (close them); faults not met yet are forgotten; then all
// works again.
void sys_sim_reboot(struct sys *s);
// Only the process ended (kill -9): what was written is all there, but no more durable than before. Else like a reboot.
void sys_sim_kill(struct sys *s);

// The op-th operation from the start fails once, with nothing or a part of it done. SHORT: a short write that is retried.
// FSYNC waits for the next sync from there on, SHORT for the next write; EIO and ENOSPC at a sync count as FSYNC.
enum sys_sim_fault { SYS_SIM_EIO, SYS_SIM_ENOSPC, SYS_SIM_SHORT, SYS_SIM_FSYNC };
void sys_sim_fail_at(struct sys *s, uint64_t op, enum sys_sim_fault fault);
void sys_sim_fail_read_at(struct sys *s, uint64_t read, enum sys_sim_fault fault); // the same for the n-th read: EIO or SHORT
void sys_sim_disk_size(struct sys *s, uint64_t bytes);                             // ENOSPC when the sum of file sizes would pass it; 0 = no limit
void sys_sim_corrupt(struct sys *s, const char *path, uint64_t offset);            // flips a bit, durably

// ---- clock ----------------------------------------------------------------------------------------------------------
// Starts at 2026-01-01T00:00:00Z. sys_sleep_us moves it by itself. A wait of a poll set blocks until something is ready, it is woken, or the
// clock is moved to its time-out by another thread; with auto-advance it moves the clock there itself (for tests with one thread).
void sys_sim_advance(struct sys *s, int64_t us); // moves both clocks
void sys_sim_set_now(struct sys *s, int64_t us); // the wall clock only
void sys_sim_auto_advance(struct sys *s, bool on);

// ---- network --------------------------------------------------------------------------------------------------------
// Sends and receives move, by the seed, fewer bytes than asked for. With a delay, every send arrives after a time between the two, in order
// within a connection, in any order between connections. Both 0 = at once.
void sys_sim_net_delay(struct sys *s, int64_t min_us, int64_t max_us);
void sys_sim_net_cut(struct sys *s); // all connections are reset: what was under way is lost

#endif
