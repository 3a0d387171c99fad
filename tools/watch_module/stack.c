// SPDX-License-Identifier: MIT
/*
 * stack.c - which call stack: as a number that is equal for equal stacks, and a copy of
 * each when it is seen first. The watcher unwinds the copies.
 *
 * EQUAL. Unwinding by call frame information is a function of the code addresses and
 * of the frame addresses found on the stack, at their places. So hashed are, each with
 * its place: every word that points into code, and, relative to rsp, every word (and
 * callee-saved register) that points into the copied stack. Words left over from earlier
 * calls make two of one stack, which costs a copy; different stacks are never made one,
 * but by a collision of 64 bits, or while code is so new (dlopen) that the watcher has
 * not yet seen it.
 *
 * BOUNDS. What lies between rsp and the end of the stack is mapped; what lies behind is
 * not known to be. The main thread's stack ends at __libc_stack_end. Others' bounds
 * are in glibc's struct pthread: where, is found out once, in the main thread, whose
 * stackblock_size glibc sets to the value of __libc_stack_end. On any other stack
 * (coroutines, sigaltstack) only the rest of the page is copied. The thread's id is read
 * the same way: gettid() would be a system call.
 */
#include <string.h>

#include "arch/syscall.h"
#include "atomic.h"
#include "module.h"

#define PTHREAD_BYTES 2304u	 /* of struct pthread: not more than there are */
#define MAIN_STACK (100UL << 20) /* the kernel keeps 128 MiB below it free of mappings */
#define PROBES 32u

extern void *__libc_stack_end __attribute__((weak));

static uint32_t stack_at; /* offset of stackblock; 0: not known */
static uint32_t tid_at;	  /* offset of tid; 0: not known */
static __thread uint32_t tid_asked __attribute__((tls_model("initial-exec")));

static const char *thread_block(void)
{
	return __builtin_thread_pointer();
}

/* In the main thread, before main(). */
void watch_stack_learn(void)
{
	const char *self = thread_block();
	uint32_t tid = (uint32_t)hmmu_syscall(SYS_gettid), n = 0;

	stack_at = 0;
	for (uint32_t i = 8; &__libc_stack_end && i < PTHREAD_BYTES; i += 8)
		if (*(void *const *)(self + i) == __libc_stack_end &&
		    !*(void *const *)(self + i - 8))
			stack_at = i - 8;
	for (uint32_t i = 4; i < PTHREAD_BYTES; i += 4) {
		if (*(const uint32_t *)(self + i) != tid)
			continue;
		tid_at = i;
		n++;
	}
	if (n != 1)
		tid_at = 0;
}

uint32_t watch_tid(void)
{
	if (tid_at)
		return *(const volatile uint32_t *)(thread_block() + tid_at);
	if (!tid_asked)
		tid_asked = (uint32_t)hmmu_syscall(SYS_gettid);
	return tid_asked;
}

/* One past the last byte that may be read; 0: not known. */
static uint64_t stack_end(uint64_t rsp)
{
	uint64_t end = &__libc_stack_end ? (uint64_t)__libc_stack_end : 0, block, size;

	if (rsp < end && end - rsp < MAIN_STACK)
		return end;
	if (!stack_at)
		return 0;
	block = *(const uint64_t *)(thread_block() + stack_at);
	size = *(const uint64_t *)(thread_block() + stack_at + 8);
	return block && rsp - block < size ? block + size : 0;
}

static bool is_code(const struct watch_code *code, uint64_t word)
{
	uint32_t low = 0, high = code->n < WATCH_RANGES ? code->n : WATCH_RANGES;
	uint64_t bit = word >> 21 & (WATCH_BLOOM - 1);

	if (!(code->bloom[bit / 64] >> (bit % 64) & 1))
		return false;
	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (word >= code->range[middle][1])
			low = middle + 1;
		else
			high = middle;
	}
	return low < code->n && low < WATCH_RANGES && word >= code->range[low][0];
}

static uint64_t mix(uint64_t hash, uint64_t value, uint64_t place)
{
	hash = (hash ^ value ^ place << 48) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ hash >> 29;
}

static uint64_t hash_stack(const struct watch_regs *regs, uint64_t size)
{
	const struct watch_code *code =
		&watch_region->code[hmmu_load_acquire(&watch_region->active) & 1];
	const uint64_t *words = (const uint64_t *)regs->rsp;
	const uint64_t *saved = &regs->rbp;
	uint64_t hash = mix(size < 8 ? 1 : 2, regs->rip, 0);

	for (uint64_t i = 0; i < 6; i++)
		if (saved[i] - regs->rsp < size)
			hash = mix(hash, saved[i] - regs->rsp, i + 1);
	for (uint64_t i = 0; i < size / 8; i++) {
		uint64_t word = words[i];

		if (word < 4096)
			continue;
		if (word - regs->rsp < size)
			hash = mix(hash, word - regs->rsp, i + 16);
		else if (is_code(code, word))
			hash = mix(hash, word, i + 16);
	}
	return hash ? hash : 1;
}

/* The copy, unless somebody was faster: then false. */
static bool copy_stack(const struct watch_regs *regs, uint64_t size, uint64_t hash, uint32_t i,
		       bool *full)
{
	uint64_t place, none = 0;
	struct watch_blob *b = watch_blob_reserve((uint32_t)(sizeof(*regs) + size), &place);
	bool mine;

	*full = !b;
	if (!b)
		return false;
	memcpy(b + 1, regs, sizeof(*regs));
	memcpy((char *)(b + 1) + sizeof(*regs), (const void *)regs->rsp, size);
	/* Pairs with nothing: the number is good before the copy has arrived. */
	mine = hmmu_cas_acquire(&watch_region->seen[i], &none, hash);
	watch_blob_commit(b, place, (uint32_t)(sizeof(*regs) + size),
			  mine ? WATCH_BLOB_STACK : WATCH_BLOB_PAD, i + 1);
	return mine;
}

/* 1 + the stack's number; 0: not copied, and counted. */
uint32_t watch_stack_of(const struct watch_regs *regs, uint8_t *flags)
{
	uint64_t end, size, hash, seen;
	bool full = false;

	if (!watch_header->window || !regs->rsp)
		return 0;
	end = stack_end(regs->rsp);
	if (!end) {
		hmmu_add_relaxed(&watch_region->no_bounds, 1);
		*flags |= WATCH_CUT;
		end = (regs->rsp | 4095) + 1;
	}
	size = end - regs->rsp;
	if (size > watch_header->window) {
		size = watch_header->window;
		*flags |= WATCH_CUT;
	}
	size &= ~UINT64_C(7);
	hash = hash_stack(regs, size);
	for (uint32_t probe = 0; probe < PROBES; probe++) {
		uint32_t i = (uint32_t)(hash + probe) & (WATCH_STACKS - 1);

		seen = hmmu_load_relaxed(&watch_region->seen[i]);
		if (seen == hash)
			return i + 1;
		if (seen)
			continue;
		if (copy_stack(regs, size, hash, i, &full) ||
		    hmmu_load_relaxed(&watch_region->seen[i]) == hash)
			return i + 1;
		if (full)
			return 0;
	}
	hmmu_add_relaxed(&watch_region->stacks_full, 1);
	return 0;
}
