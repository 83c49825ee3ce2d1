// SPDX-License-Identifier: Apache-2.0
// Large pieces of memory for input and output, on huge pages: a device is told of one page where it would be told of 512. Real in the simulation
// too. No memory left is the end of the process, as in base.
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "sys/sys.h"

enum { HUGE_PAGE = 2 << 20 };

void *sys_map_memory(size_t n) {
    assert(n > 0 && n % HUGE_PAGE == 0);
    size_t more = n + HUGE_PAGE;
    uint8_t *all = mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
        perror("millrace: out of memory");
        abort();
    }
    size_t front = (HUGE_PAGE - (uintptr_t)all % HUGE_PAGE) % HUGE_PAGE;
    if (front > 0) munmap(all, front);
    if (HUGE_PAGE - front > 0) munmap(all + front + n, HUGE_PAGE - front);
    (void)madvise(all + front, n, MADV_HUGEPAGE); // a kernel without them is slower and not wrong
    return all + front;
}

void sys_unmap_memory(void *p, size_t n) {
    if (munmap(p, n) != 0) {
        perror("millrace: munmap");
        abort();
    }
}
