/* SPDX-License-Identifier: MIT */
/*
 * patch.h - the architecture's patcher, or one that refuses. A refused operation
 * is hooked by symbol interposition.
 */
#ifndef HMMU_ARCH_PATCH_H
#define HMMU_ARCH_PATCH_H

#define HMMU_PATCH_FOREIGN "its entry is patched by another library"

/* hmmu_patch_find()'s flags */
#define HMMU_PATCH_ALONE 1u    /* the process has one thread */
#define HMMU_PATCH_BRANCHES 2u /* the prologue may branch away: who asks knows where to */

#if defined(__x86_64__) && defined(__LP64__)
#define HMMU_ARCH_PATCHES 1
#include "arch/x86_64_patch.h"
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define HMMU_ARCH_PATCHES 0
#define HMMU_PATCH_BYTES 4
#define HMMU_PATCH_WALK 32 /* as much is kept of an entry, to see whether it changed */
#define HMMU_TRAMPOLINE_BYTES 32
#define HMMU_PATCH_REACH 0L
struct hmmu_patch_site {
	unsigned int offset;
	unsigned int stack;
	void *foreign;
};
static inline const char *hmmu_patch_find(const uint8_t *entry, unsigned int flags,
					  struct hmmu_patch_site *site)
{
	return "there is no patcher for this architecture";
}
static inline void *hmmu_patch_target(const uint8_t *p)
{
	return NULL;
}
static inline uint64_t hmmu_patch_word(const uint8_t *at, const uint8_t *to)
{
	return 0;
}
static inline bool hmmu_patch_store(uint64_t *word, uint64_t old, uint64_t value)
{
	return false;
}
static inline void hmmu_trampoline_write(uint8_t *to, unsigned int stack, const void *target)
{
}
static inline bool hmmu_patch_calls(const uint8_t *p, size_t n, const void *target)
{
	return false;
}
static inline void hmmu_patch_forget(const void *at, size_t n)
{
}
#endif

#endif /* HMMU_ARCH_PATCH_H */
