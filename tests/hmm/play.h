/* SPDX-License-Identifier: MIT */
/* play.h - older kernels and refusals, at the library's system calls (HMMU_FAULT). */
#ifndef HMMU_TEST_HMM_PLAY_H
#define HMMU_TEST_HMM_PLAY_H

#include <stdbool.h>

#define NO_QUERY (1U << 0)    /* before 6.11 */
#define NO_SCAN (1U << 1)     /* before 6.7 */
#define NO_GUARD (1U << 2)    /* before 6.15 */
#define NO_POPULATE (1U << 3) /* before 5.14 */
#define NO_FRAMES (1U << 4)   /* without CAP_SYS_ADMIN */

/* What the kernel is to lack from now on. */
void play(unsigned int without);

/* Before a call is made: true: it is answered *ret instead. NULL: none. */
extern bool (*play_before)(long nr, const long args[6], long *ret);
extern void (*play_after)(long nr, const long args[6], long ret);
extern unsigned int play_refused; /* how many were answered so */
extern unsigned int played;	  /* how many the library made */

#endif /* HMMU_TEST_HMM_PLAY_H */
