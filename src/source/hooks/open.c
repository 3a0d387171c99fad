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
 * If another copy of this library has patched already, it does all that for this one
 * (copies.h); if another library has, it is chained to (chain.c). A later open finds that
 * somebody patched over ours, and does it all once more.
 *
 * Everything here runs in open(), which its caller serialises, in an ordinary
 * thread. hmmu_hook_info is read by exactness() as well: words that are set before the
 * open that the describing thread relies on returned.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/lib-names.h>
#include <time.h>

#include "arch/syscall.h"
#include "source/hooks/hooks.h"

#define HOOK(id, symbol, alias, operation, replace, ...) \
	[id] = {.name = symbol,                          \
		.internal = alias,                       \
		.op = operation,                         \
		.twin = id,                              \
		.replacement = (void *)(replace),        \
		.why = "it was not opened",              \
		__VA_ARGS__}
#define TWIN(id, of, symbol, operation, replace)  \
	[id] = {                                  \
		.name = symbol,                   \
		.op = operation,                  \
		.twin = of,                       \
		.replacement = (void *)(replace), \
		.why = "it was not opened",       \
	}

struct hmmu_hook_info hmmu_hook_info[HMMU_HOOK_NR] = {
	HOOK(HMMU_HOOK_MUNMAP, "munmap", "__munmap", HMMU_OP_MUNMAP, hmmu_hook_munmap),
	HOOK(HMMU_HOOK_MMAP, "mmap", "__mmap", HMMU_OP_MMAP_FIXED, hmmu_hook_mmap,
	     .wide = true),
	TWIN(HMMU_HOOK_MMAP64, HMMU_HOOK_MMAP, "mmap64", HMMU_OP_MMAP_FIXED, hmmu_hook_mmap),
	HOOK(HMMU_HOOK_MREMAP, "mremap", NULL, HMMU_OP_MREMAP, hmmu_hook_mremap, .wide = true),
	HOOK(HMMU_HOOK_MADVISE, "madvise", "__madvise", HMMU_OP_MADVISE, hmmu_hook_madvise),
	HOOK(HMMU_HOOK_MPROTECT, "mprotect", "__mprotect", HMMU_OP_MPROTECT,
	     hmmu_hook_mprotect),
	HOOK(HMMU_HOOK_BRK, "brk", NULL, HMMU_OP_BRK, hmmu_hook_brk),
	HOOK(HMMU_HOOK_SBRK, "sbrk", "__sbrk", HMMU_OP_BRK, hmmu_hook_sbrk, .wide = true),
	HOOK(HMMU_HOOK_SHMDT, "shmdt", NULL, HMMU_OP_SHMDT, hmmu_hook_shmdt),
	HOOK(HMMU_HOOK_SHMAT, "shmat", NULL, HMMU_OP_SHMAT_REMAP, hmmu_hook_shmat,
	     .wide = true),
	HOOK(HMMU_HOOK_PROCESS_MADVISE, "process_madvise", NULL, HMMU_OP_PROCESS_MADVISE,
	     hmmu_hook_process_madvise, .wide = true),
	HOOK(HMMU_HOOK_PKEY_MPROTECT, "pkey_mprotect", NULL, HMMU_OP_PKEY_MPROTECT,
	     hmmu_hook_pkey_mprotect, .branches = true),
	HOOK(HMMU_HOOK_REMAP_FILE_PAGES, "remap_file_pages", NULL, HMMU_OP_REMAP_FILE_PAGES,
	     hmmu_hook_remap_file_pages),
	HOOK(HMMU_HOOK_FTRUNCATE, "ftruncate", NULL, HMMU_OP_FTRUNCATE, hmmu_hook_ftruncate),
	TWIN(HMMU_HOOK_FTRUNCATE64, HMMU_HOOK_FTRUNCATE, "ftruncate64", HMMU_OP_FTRUNCATE,
	     hmmu_hook_ftruncate),
	HOOK(HMMU_HOOK_TRUNCATE, "truncate", NULL, HMMU_OP_FTRUNCATE, hmmu_hook_truncate),
	TWIN(HMMU_HOOK_TRUNCATE64, HMMU_HOOK_TRUNCATE, "truncate64", HMMU_OP_FTRUNCATE,
	     hmmu_hook_truncate),
	HOOK(HMMU_HOOK_FALLOCATE, "fallocate", NULL, HMMU_OP_FALLOCATE, hmmu_hook_fallocate),
	TWIN(HMMU_HOOK_FALLOCATE64, HMMU_HOOK_FALLOCATE, "fallocate64", HMMU_OP_FALLOCATE,
	     hmmu_hook_fallocate),
};

#if defined(HMMU_PLANT) || defined(HMMU_SCHED)
int hmmu_hook_planted;
#endif

static bool fork_watched;
static bool installed;
static int refused;	 /* what the last open() answered */
static uint32_t opening; /* a lock */
bool hmmu_hooks_settled;
bool hmmu_hooks_asked;

/* libc and the program are never unloaded: the addresses outlive the handles. */
static void resolve(void)
{
	void *libc = dlopen(LIBC_SO, RTLD_LAZY | RTLD_NOLOAD);
	void *program = dlopen(NULL, RTLD_LAZY);

	/* Both are there: it was for want of memory. */
	hmmu_hooks_again |= !libc || !program;
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

static int watch_fork(void)
{
	int err = hmmu_hooks_fork_init();

	fork_watched = !err;
	return err;
}

static int follow(const struct hmmu_copy_leader *leader)
{
	int err = hmmu_copies_follow(leader);

	if (err)
		return err;
	return all_watched() ? 0 : -EOPNOTSUPP;
}

/* 0, or -errno: some operation is not watched; -EEXIST: another version leads. */
static int install(void)
{
	const void *entry = hmmu_hook_info[HMMU_HOOK_MUNMAP].entry;
	const struct hmmu_copy_leader *leader;
	int err = hmmu_copies_find(entry, &leader);

	if (err)
		return err;
	if (leader)
		return follow(leader);
	hmmu_hooks_patch();
	/* Was another copy faster? Then no self-test: while it runs, wrappers of ours may not
	 * enter libc, and the leader's would find them astray. */
	err = hmmu_copies_find(entry, &leader);
	if (err)
		return err;
	if (leader)
		return follow(leader);
	hmmu_hooks_selftest();
	return all_watched() ? 0 : -EOPNOTSUPP;
}

/* Another copy of this library may come in by hmmu_copies_serve(). As rare as open(). */
static void lock(void)
{
	static const struct timespec ts = {0, 1000000};
	uint32_t expected = 0;

	while (!hmmu_cas_acquire(&opening, &expected, 1)) {
		hmmu_syscall(SYS_nanosleep, &ts, NULL);
		expected = 0;
	}
}

/* -EAGAIN: a call that was under way does not end. */
static int open_locked(void)
{
	int err = 0;

	/* Found by an open: the other mms are to be told, by the reclaimer. */
	if (installed && !hmmu_hooks_intact())
		hmmu_source_check();
	if (!installed || hmmu_hooks_again || !hmmu_hooks_intact()) {
		hmmu_hooks_again = false;
		/* What began while another library's patch lay over ours is not bracketed. */
		hmmu_hooks_settled = hmmu_hooks_settled && !installed;
		hmmu_copies_leader = NULL;
		resolve();
		err = install();
		if (!err)
			err = watch_fork();
	}
	installed = !err;
	if (!err && !hmmu_hooks_settled) {
		hmmu_hooks_settled = HMMU_HOOK_PLANTED(NO_WAIT) || hmmu_hooks_quiesce();
		err = hmmu_hooks_settled ? 0 : -EAGAIN;
	}
	return err;
}

static int hooks_open(void)
{
	int saved = errno, err;

#ifdef HMMU_SCHED
	if (hmmu_syscall_hook)
		return 0; /* who plays the kernel calls the replacements by himself */
#endif
	/* Also binds errno's accessor in this module. */
	errno = 0;
	hmmu_hooks_asked = true;
	lock();
	err = open_locked();
	refused = err;
	hmmu_store_release(&opening, 0);
	errno = saved;
	return err;
}

int hmmu_hooks_restore(void)
{
	return hooks_open();
}

/* Its other threads are gone, with what they held. */
void hmmu_hooks_forked(void)
{
	hmmu_hooks_settled = false;
	hmmu_store_release(&opening, 0);
}

static int serve_locked(const struct hmmu_copy_follower *follower)
{
	int err = open_locked();

	if (err)
		return err;
	for (uint32_t i = 0; i < hmmu_copies_n; i++)
		if (hmmu_copies[i] == follower)
			return 0;
	if (hmmu_copies_n == HMMU_COPIES_MAX)
		return -EMFILE;
	hmmu_copies[hmmu_copies_n] = follower;
	/* Pairs with the acquires in change.c. */
	hmmu_store_release(&hmmu_copies_n, hmmu_copies_n + 1);
	return 0;
}

int hmmu_copies_serve(const struct hmmu_copy_follower *follower)
{
	int err;

	lock();
	err = serve_locked(follower);
	hmmu_store_release(&opening, 0);
	return err;
}

static bool hook_watched(const struct hmmu_hook_info *info, unsigned int caller)
{
	if (info->state == HMMU_HOOK_ABSENT)
		return true;
	return caller == HMMU_CALLER_LIBC ? info->state != HMMU_HOOK_NONE : info->within;
}

/* Of all the hooks that an operation needs. */
static bool op_watched(unsigned int op, unsigned int caller)
{
	bool any = false;

	if (op == HMMU_OP_FORK)
		return fork_watched;
	if (op == HMMU_OP_MADVISE_GUARD)
		op = HMMU_OP_MADVISE;
	for (int i = 0; i < HMMU_HOOK_NR; i++) {
		const struct hmmu_hook_info *info = &hmmu_hook_info[i];

		if (info->op != op)
			continue;
		if (!hook_watched(info, caller))
			return false;
		any = true;
	}
	return any;
}

/* A file that is mapped while it is truncated: file.c. */
#define BRACKETS(op)                                                             \
	((op) == HMMU_OP_FTRUNCATE || (op) == HMMU_OP_FALLOCATE ? HMMU_BY_RETURN \
								: HMMU_BRACKETED)

static unsigned int hooks_exactness(unsigned int op, unsigned int caller)
{
	if (caller != HMMU_CALLER_LIBC && caller != HMMU_CALLER_LIBC_INTERNAL)
		return HMMU_UNWATCHED;
	return op_watched(op, caller) ? BRACKETS(op) : HMMU_UNWATCHED;
}

/* Of the first operation that is not watched. */
static const char *hooks_why(void)
{
	switch (refused) {
	case 0:
		return NULL;
	case -EAGAIN:
		return "a call that was under way does not end";
	case -EMFILE:
		return "too many copies of this library follow the first one";
	case -EEXIST:
		return "another version of this library has patched libc";
	default:
		break;
	}
	for (int i = 0; i < HMMU_HOOK_NR; i++)
		if (hmmu_hook_info[i].state == HMMU_HOOK_NONE)
			return hmmu_hook_info[i].why;
	return fork_watched ? "its calls do not come by the first copy of this library"
			    : "fork's handlers cannot be registered";
}

const struct hmmu_source hmmu_source_hooks = {
	.name = "hooks",
	.bit = HMMU_SOURCE_HOOKS,
	.open = hooks_open,
	.intact = hmmu_hooks_intact,
	.exactness = hooks_exactness,
	.why = hooks_why,
};
