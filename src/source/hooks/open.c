// SPDX-License-Identifier: MIT
/*
 * open.c - the hooks source: resolve, patch, prove, say what came of it.
 *
 * The first open resolves every address, patches what can be patched, registers
 * fork's handlers and tests each hook. What is not patched is interposed if the
 * program's calls are known to bind to this library; an operation that is neither is
 * not watched, and then open answers -EOPNOTSUPP. What was patched stays: while
 * nobody watches, its replacement is the bare call. Later opens find it all done, or
 * try again what was refused.
 *
 * Addresses come from libc's own handle. The program's scope may have another
 * interposer in front; it is asked only for what the program's calls bind to.
 *
 * Everything here runs in open(), which its caller serialises, in an ordinary
 * thread. hmmu_hook_info is read by describe() as well: words that are set before the
 * open that the describing thread relies on returned.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/lib-names.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

#define HOOK(id, symbol, alias, operation, replace) \
	[id] = {                                    \
		.name = symbol,                     \
		.internal = alias,                  \
		.op = operation,                    \
		.replacement = (void *)(replace),   \
		.why = "it was not opened",         \
	}

struct hmmu_hook_info hmmu_hook_info[HMMU_HOOK_NR] = {
	HOOK(HMMU_HOOK_MUNMAP, "munmap", "__munmap", HMMU_OP_MUNMAP, hmmu_hook_munmap),
	HOOK(HMMU_HOOK_MMAP, "mmap", "__mmap", HMMU_OP_MMAP_FIXED, hmmu_hook_mmap),
	HOOK(HMMU_HOOK_MMAP64, "mmap64", "__mmap", HMMU_OP_MMAP_FIXED, hmmu_hook_mmap),
	HOOK(HMMU_HOOK_MREMAP, "mremap", NULL, HMMU_OP_MREMAP, hmmu_hook_mremap),
	HOOK(HMMU_HOOK_MADVISE, "madvise", "__madvise", HMMU_OP_MADVISE, hmmu_hook_madvise),
	HOOK(HMMU_HOOK_MPROTECT, "mprotect", "__mprotect", HMMU_OP_MPROTECT,
	     hmmu_hook_mprotect),
	HOOK(HMMU_HOOK_BRK, "brk", NULL, HMMU_OP_BRK, hmmu_hook_brk),
	HOOK(HMMU_HOOK_SBRK, "sbrk", "__sbrk", HMMU_OP_BRK, hmmu_hook_sbrk),
	HOOK(HMMU_HOOK_SHMDT, "shmdt", NULL, HMMU_OP_SHMDT, hmmu_hook_shmdt),
	HOOK(HMMU_HOOK_SHMAT, "shmat", NULL, HMMU_OP_SHMAT_REMAP, hmmu_hook_shmat),
};

#ifdef HMMU_PLANT
int hmmu_hook_planted;
#endif

static bool fork_watched;
static bool installed;
bool hmmu_hooks_settled;

/* libc and the program are never unloaded: the addresses outlive the handles. */
static void resolve(void)
{
	void *libc = dlopen(LIBC_SO, RTLD_LAZY | RTLD_NOLOAD);
	void *program = dlopen(NULL, RTLD_LAZY);

	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		struct hmmu_hook_info *info = &hmmu_hook_info[i];

		info->wrapper = hmmu_interpose_wrappers[i];
		info->entry = libc ? dlsym(libc, info->name) : NULL;
		info->global = program ? dlsym(program, info->name) : NULL;
		/* libc calls itself by another way: that way is not watched. */
		if (info->entry && info->internal) {
			void *internal = dlsym(libc, info->internal);

			info->aliased = internal && internal != info->entry;
		}
	}
	dlerror();
	if (program)
		dlclose(program);
	if (libc)
		dlclose(libc);
}

/* The 20th field of /proc/self/stat, the 18th behind the command's ')'. */
unsigned int hmmu_hooks_threads(void)
{
	char buf[1024];
	unsigned int value = 0;
	long fd, n, i;
	int field = 0;

	fd = hmmu_syscall(SYS_openat, AT_FDCWD, "/proc/self/stat", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = hmmu_syscall(SYS_read, fd, buf, sizeof(buf));
	hmmu_syscall(SYS_close, fd);
	for (i = n - 1; i >= 0 && buf[i] != ')'; i--)
		;
	for (i = i < 0 ? n : i; i < n && field < 19; i++) {
		if (buf[i] == ' ')
			field++;
		else if (field == 18)
			value = value * 10 + (unsigned int)(buf[i] - '0');
	}
	return field == 19 ? value : 0;
}

static bool all_watched(void)
{
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		if (hmmu_hook_info[i].state == HMMU_HOOK_NONE)
			return false;
	return true;
}

/* 0, or -errno: some operation is not watched. */
static int install(void)
{
	int err;

	resolve();
	hmmu_hooks_patch();
	hmmu_hooks_selftest();
	err = hmmu_hooks_fork_init();
	fork_watched = !err;
	if (err)
		return err;
	return all_watched() ? 0 : -EOPNOTSUPP;
}

/* -EAGAIN: a call that was under way does not end. */
static int hooks_open(void)
{
	int saved = errno, err = 0;

	/* Also binds errno's accessor in this module. */
	errno = 0;
	if (!installed)
		err = install();
	installed = !err;
	if (!err && !hmmu_hooks_settled) {
		hmmu_hooks_settled = HMMU_HOOK_PLANTED(NO_WAIT) || hmmu_hooks_quiesce();
		err = hmmu_hooks_settled ? 0 : -EAGAIN;
	}
	errno = saved;
	return err;
}

/* Of all the hooks that an operation needs. */
static bool op_watched(unsigned int op, unsigned int caller)
{
	bool any = false;

	if (op == HMMU_OP_FORK)
		return fork_watched;
	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		const struct hmmu_hook_info *info = &hmmu_hook_info[i];

		if (info->op != op)
			continue;
		if (caller == HMMU_CALLER_LIBC ? info->state == HMMU_HOOK_NONE : !info->within)
			return false;
		any = true;
	}
	return any;
}

static struct hmmu_coverage cell(unsigned int op, unsigned int caller)
{
	struct hmmu_coverage c = {
		.operation = (uint16_t)op,
		.caller = (uint16_t)caller,
		.memory = HMMU_MEMORY_ANY,
		.exactness = HMMU_UNWATCHED,
	};

	if (caller == HMMU_CALLER_EXPLICIT) {
		c.exactness = HMMU_BRACKETED;
	} else if ((caller == HMMU_CALLER_LIBC || caller == HMMU_CALLER_LIBC_INTERNAL) &&
		   op_watched(op, caller)) {
		c.exactness = HMMU_BRACKETED;
		c.source = HMMU_SOURCE_HOOKS;
	}
	return c;
}

static int hooks_describe(struct hmmu_coverage *cells, size_t n)
{
	size_t i = 0;

	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++, i++)
			if (i < n)
				cells[i] = cell(op, caller);
	return (int)i;
}

const struct hmmu_source hmmu_source_hooks = {
	.name = "hooks",
	.bit = HMMU_SOURCE_HOOKS,
	.open = hooks_open,
	.describe = hooks_describe,
};
