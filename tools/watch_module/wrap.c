// SPDX-License-Identifier: MIT
/*
 * wrap.c - in front of each hook: what was called, with what, from where.
 *
 * The linker puts these in the hooks' place (--wrap): the patched entries and the
 * exported names lead here. The callbacks that the hook causes find the call in
 * watch_current; when the hook is back, its events are written. A call that caused no
 * callback changed nothing and leaves no event.
 *
 * The frame of a wrapper is the one whose registers are copied: it stays until
 * the event is out, so nothing here may be a tail call.
 */
#include <stdint.h>
#include <sys/mman.h>
#include <sys/types.h>

#include "atomic.h"
#include "module.h"
#include "source/hooks/hooks.h"

#define WRAPPER(type, name, ...)                   \
	type __real_hmmu_hook_##name(__VA_ARGS__); \
	type __wrap_hmmu_hook_##name(__VA_ARGS__); \
	type __wrap_hmmu_hook_##name(__VA_ARGS__)

/* A macro: the registers are those of the wrapper. */
#define ENTER(call, operation, more)                                                 \
	struct watch_call call;                                                      \
	begin(&(call), (operation), (uint32_t)(more),                                \
	      (uint64_t)__builtin_extract_return_addr(__builtin_return_address(0))); \
	watch_grab(&(call).regs)

static void begin(struct watch_call *call, enum watch_op op, uint32_t detail, uint64_t caller)
{
	call->outer = watch_current;
	call->caller = caller;
	call->begun = watch_now();
	call->told = call->begun;
	call->ended = 0;
	call->detail = detail;
	call->op = (uint8_t)op;
	call->n = 0;
	call->flags = 0;
	/* A handler that comes now finds this call whole. */
	hmmu_signal_fence();
	watch_current = call;
}

static void leave(struct watch_call *call, bool failed)
{
	watch_current = call->outer;
	hmmu_signal_fence();
	if (call->n)
		watch_publish(call, failed);
}

static bool tells_creations(void)
{
	return watch_on && watch_header->creates;
}

static enum watch_op op_of_advice(int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		return WATCH_OP_DONTNEED;
	case MADV_FREE:
		return WATCH_OP_FREE;
	case MADV_REMOVE:
		return WATCH_OP_REMOVE;
	default:
		return WATCH_OP_MADVISE;
	}
}

WRAPPER(int, munmap, void *addr, size_t len)
{
	int ret;

	ENTER(call, WATCH_OP_MUNMAP, 0);
	ret = __real_hmmu_hook_munmap(addr, len);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(void *, mmap, void *addr, size_t len, int prot, int flags, int fd, long offset)
{
	void *ret;

	ENTER(call, WATCH_OP_MMAP, (uint32_t)prot | (uint32_t)flags << 8);
	ret = __real_hmmu_hook_mmap(addr, len, prot, flags, fd, offset);
	leave(&call, ret == MAP_FAILED);
	if (ret != MAP_FAILED && tells_creations())
		watch_publish_created(&call, (uint64_t)ret, (uint64_t)ret + len);
	return ret;
}

WRAPPER(void *, mremap, void *old, size_t old_len, size_t new_len, int flags, void *fixed)
{
	void *ret;

	ENTER(call, WATCH_OP_MREMAP, flags);
	ret = __real_hmmu_hook_mremap(old, old_len, new_len, flags, fixed);
	leave(&call, ret == MAP_FAILED);
	if (ret != MAP_FAILED && tells_creations())
		watch_publish_created(&call, (uint64_t)ret, (uint64_t)ret + new_len);
	return ret;
}

WRAPPER(int, madvise, void *addr, size_t len, int advice)
{
	int ret;

	ENTER(call, op_of_advice(advice), advice);
	ret = __real_hmmu_hook_madvise(addr, len, advice);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(int, mprotect, void *addr, size_t len, int prot)
{
	int ret;

	ENTER(call, WATCH_OP_MPROTECT, prot);
	ret = __real_hmmu_hook_mprotect(addr, len, prot);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(int, brk, void *addr)
{
	int ret;

	ENTER(call, WATCH_OP_BRK, 0);
	ret = __real_hmmu_hook_brk(addr);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(void *, sbrk, intptr_t increment)
{
	void *ret;

	ENTER(call, WATCH_OP_BRK, 0);
	ret = __real_hmmu_hook_sbrk(increment);
	leave(&call, ret == (void *)-1);
	return ret;
}

WRAPPER(ssize_t, process_madvise, int pidfd, const struct iovec *iov, size_t n, int advice,
	unsigned int flags)
{
	ssize_t ret;

	ENTER(call, op_of_advice(advice), advice);
	ret = __real_hmmu_hook_process_madvise(pidfd, iov, n, advice, flags);
	leave(&call, ret < 0);
	return ret;
}

WRAPPER(int, pkey_mprotect, void *addr, size_t len, int prot, int pkey)
{
	int ret;

	ENTER(call, WATCH_OP_MPROTECT, prot);
	ret = __real_hmmu_hook_pkey_mprotect(addr, len, prot, pkey);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(int, remap_file_pages, void *addr, size_t size, int prot, size_t pgoff, int flags)
{
	int ret;

	ENTER(call, WATCH_OP_OTHER, flags);
	ret = __real_hmmu_hook_remap_file_pages(addr, size, prot, pgoff, flags);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(int, ftruncate, int fd, long length)
{
	int ret;

	ENTER(call, WATCH_OP_FTRUNCATE, 0);
	ret = __real_hmmu_hook_ftruncate(fd, length);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(int, truncate, const char *path, long length)
{
	int ret;

	ENTER(call, WATCH_OP_FTRUNCATE, 0);
	ret = __real_hmmu_hook_truncate(path, length);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(int, fallocate, int fd, int mode, long offset, long len)
{
	int ret;

	ENTER(call, WATCH_OP_FALLOCATE, mode);
	ret = __real_hmmu_hook_fallocate(fd, mode, offset, len);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(int, shmdt, const void *addr)
{
	int ret;

	ENTER(call, WATCH_OP_SHMDT, 0);
	ret = __real_hmmu_hook_shmdt(addr);
	leave(&call, ret != 0);
	return ret;
}

WRAPPER(void *, shmat, int id, const void *addr, int flags)
{
	void *ret;

	ENTER(call, WATCH_OP_SHMAT, flags);
	ret = __real_hmmu_hook_shmat(id, addr, flags);
	leave(&call, ret == (void *)-1);
	return ret;
}
