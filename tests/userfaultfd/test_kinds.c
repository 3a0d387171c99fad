// SPDX-License-Identifier: MIT
/*
 * test_kinds.c - every kind of memory can be watched, by everybody; and where the system
 * refuses, it says so.
 */
#include "net.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/shm.h>

#include "../hooks/policy.h"

/* Watched; then @len bytes at @p are unmapped by a raw call. */
static void watched(char *p, size_t len)
{
	struct mm_struct *mm = net_open(ALONE);
	unsigned long seq;
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	must(watch_ok(&w, seq));
	must(raw_munmap(p, len) == 0 && !watch_ok(&w, seq));
	net_quiet();
	must(watch_calls(&w) == 1);
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(private_anonymous)
{
	watched(raw_map(3), 3 * PAGE);
}

ISOLATED(shared_anonymous)
{
	watched(raw_mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0), PAGE);
}

ISOLATED(read_only)
{
	watched(raw_mmap(NULL, PAGE, PROT_READ, ANON, -1, 0), PAGE);
}

ISOLATED(no_access)
{
	watched(raw_mmap(NULL, PAGE, PROT_NONE, ANON, -1, 0), PAGE);
}

ISOLATED(locked)
{
	char *p = raw_map(1);

	must(mlock(p, PAGE) == 0);
	watched(p, PAGE);
}

ISOLATED(memfd)
{
	int fd = memfd_create("net", 0);

	must(fd >= 0 && ftruncate(fd, PAGE) == 0);
	watched(raw_mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0), PAGE);
	watched(raw_mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0), PAGE);
}

static int file(void)
{
	char name[] = "net.XXXXXX";
	int fd = mkstemp(name);

	must(fd >= 0 && unlink(name) == 0 && ftruncate(fd, PAGE) == 0);
	return fd;
}

ISOLATED(file_private)
{
	watched(raw_mmap(NULL, PAGE, RW, MAP_PRIVATE, file(), 0), PAGE);
}

ISOLATED(file_shared)
{
	watched(raw_mmap(NULL, PAGE, RW, MAP_SHARED, file(), 0), PAGE);
	watched(raw_mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file(), 0), PAGE);
}

/* The kernel refuses a shared mapping that never can be written. */
ISOLATED(file_shared_read_only)
{
	struct mm_struct *mm = net_open(ALONE);
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), ret;
	char *p = raw_mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	struct watch w;

	watch_add(&w, mm, p, PAGE);
	ret = watch_poll(&w);
	must(ret == 0 || ret == -ENODEV);
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(sysv)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	long p = hmmu_syscall(SYS_shmat, id, NULL, 0);

	must(id >= 0 && !hmmu_is_err(p) && shmctl(id, IPC_RMID, NULL) == 0);
	watched((char *)p, PAGE);
}

ISOLATED(heap)
{
	struct mm_struct *mm = net_open(ALONE);
	long old = hmmu_syscall(SYS_brk, 0), top = (old + 0xfff) & ~0xfffL;
	unsigned long seq;
	struct watch w;

	must(hmmu_syscall(SYS_brk, top + 4 * (long)PAGE) == top + 4 * (long)PAGE);
	watch_add(&w, mm, (void *)(top + 2 * (long)PAGE), PAGE);
	seq = watch_begin(&w);
	/* It grows beside what is watched. */
	must(hmmu_syscall(SYS_brk, top + 8 * (long)PAGE) == top + 8 * (long)PAGE);
	must(watch_ok(&w, seq));
	must(hmmu_syscall(SYS_brk, top) == top && !watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

ISOLATED(stack)
{
	struct mm_struct *mm = net_open(ALONE);
	char here, *p = (char *)(((uintptr_t)&here & -PAGE) - 4 * PAGE);
	unsigned long seq;
	struct watch w;

	*(volatile char *)p = 'a';
	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	must(watch_ok(&w, seq));
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0 && !watch_ok(&w, seq));
	watch_begin(&w);
	watch_remove(&w);
	net_close(mm);
}

/* Subscribed to before it is there, and to nothing at all. */
/* Somebody who needs to be told before is refused where the kernel tells afterwards. */
ISOLATED(required)
{
	struct hmmu_mm_options options = {
		.size = sizeof(options),
		.sources = ALONE,
		.require = HMMU_BRACKETED,
	};
	struct mm_struct *mm = NULL;

	must(hmmu_mm_open(&mm, &options) == -EOPNOTSUPP && !mm);
	options.sources = HMMU_SOURCE_HOOKS;
	must(hmmu_mm_open(&mm, &options) == 0);
	net_close(mm);
}

ISOLATED(not_mapped_yet)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(1);
	unsigned long seq;
	struct watch w;

	must(raw_munmap(p, PAGE) == 0);
	watch_add(&w, mm, p, PAGE);
	must(raw_mmap(p, PAGE, RW, ANON, -1, 0) == p);
	seq = watch_begin(&w);
	must(watch_ok(&w, seq));
	must(raw_munmap(p, PAGE) == 0 && !watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* ---- who may ----------------------------------------------------------- */

ISOLATED(unprivileged)
{
	char *p = raw_map(2);
	struct mm_struct *mm;
	unsigned long seq;
	struct watch w;

	if (getuid() == 0)
		must(setresgid(65534, 65534, 65534) == 0 &&
		     setresuid(65534, 65534, 65534) == 0);
	must(prctl(PR_SET_DUMPABLE, 1) == 0);
	mm = net_open(ALONE);
	watch_add(&w, mm, p, PAGE);
	seq = watch_begin(&w);
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0 && !watch_ok(&w, seq));
	seq = watch_begin(&w);
	must(*p == 0 && watch_ok(&w, seq));
	must(raw_munmap(p, 2 * PAGE) == 0 && !watch_ok(&w, seq));
	net_quiet();
	watch_remove(&w);
	net_close(mm);
}

/* As after set-uid: /proc/self belongs to root, and the page tables cannot be looked at. */
ISOLATED(not_dumpable)
{
	const struct hmmu_mm_options named = {.size = sizeof(named), .sources = ALONE};
	struct mm_struct *mm;

	if (getuid() == 0)
		must(setresgid(65534, 65534, 65534) == 0 &&
		     setresuid(65534, 65534, 65534) == 0);
	else
		must(prctl(PR_SET_DUMPABLE, 0) == 0);
	must(hmmu_mm_open(&mm, &named) == -EOPNOTSUPP);
	must(strstr(hmmu_source_why(ALONE), "dumpable") != NULL);
	must(hmmu_mm_open(&mm, NULL) == 0 && mm->sources == HMMU_SOURCE_HOOKS);
	net_close(mm);
}

static void refused(int err, const char *word)
{
	const struct hmmu_mm_options named = {.size = sizeof(named), .sources = ALONE};
	const struct hmmu_mm_options both = {.size = sizeof(both), .sources = BOTH};
	struct mm_struct *mm;

	must(policy_refuse(SYS_userfaultfd, SYS_userfaultfd, err) == 0);
	must(hmmu_mm_open(&mm, &named) == -EOPNOTSUPP);
	must(strstr(hmmu_source_userfaultfd.why(), word) != NULL);
	must(hmmu_mm_open(&mm, &both) == -EOPNOTSUPP);
	must(hmmu_mm_open(&mm, NULL) == 0);
	must(mm->sources == HMMU_SOURCE_HOOKS);
	must(strstr(hmmu_source_userfaultfd.why(), word) != NULL);
	net_close(mm);
}

ISOLATED(refused_eperm)
{
	refused(EPERM, "filter");
}

ISOLATED(refused_enosys)
{
	refused(ENOSYS, "filter");
}

ISOLATED(refused_unshare)
{
	const struct hmmu_mm_options named = {.size = sizeof(named), .sources = ALONE};
	unsigned int threads = net_count("task"), fds = net_count("fd");
	struct mm_struct *mm;

	must(policy_refuse(SYS_unshare, SYS_unshare, EPERM) == 0);
	must(hmmu_mm_open(&mm, &named) == -EOPNOTSUPP);
	must(strstr(hmmu_source_userfaultfd.why(), "unshare") != NULL);
	/* Joined threads may still be on their way out, for the kernel. */
	while (net_count("task") > threads + 1)
		usleep(100);
	must(net_count("fd") == fds);
}

static bool no_proc(void)
{
	return getuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       umount2("/proc", MNT_DETACH) == 0;
}

ISOLATED(refused_without_proc)
{
	const struct hmmu_mm_options named = {.size = sizeof(named), .sources = ALONE};
	struct mm_struct *mm;

	if (!no_proc())
		return;
	must(hmmu_mm_open(&mm, &named) == -EOPNOTSUPP);
	must(strstr(hmmu_source_userfaultfd.why(), "/proc") != NULL);
}

/* All threads of the process. */
static bool go_where_no_proc_is(void)
{
	char name[] = "net.XXXXXX", path[32];

	if (getuid() || !mkdtemp(name))
		return false;
	must(chdir(name) == 0 && rmdir(strcat(strcpy(path, "../"), name)) == 0);
	return chroot(".") == 0;
}

/* A daemon's chroot while it is watched: what is armed stays so, what is not says so. */
ISOLATED(proc_goes_away)
{
	struct mm_struct *mm = net_open(ALONE);
	char *p = raw_map(2), *q = raw_mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct watch w, v;
	unsigned long seq;

	watch_add(&w, mm, p, PAGE);
	watch_add(&v, mm, q, PAGE);
	seq = watch_begin(&w);
	if (!go_where_no_proc_is())
		return;
	must(raw_madvise(p, PAGE, MADV_DONTNEED) == 0 && !watch_ok(&w, seq));
	seq = watch_begin(&w);
	must(watch_ok(&w, seq) && *p == 0);
	must(hmmu_read_begin(&v.sub, &seq, NULL) == -ENODEV);
	watch_remove(&w);
	watch_remove(&v);
	net_close(mm);
	must(raw_munmap(p, 2 * PAGE) == 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(private_anonymous),
		cmocka_unit_test(shared_anonymous),
		cmocka_unit_test(read_only),
		cmocka_unit_test(no_access),
		cmocka_unit_test(locked),
		cmocka_unit_test(memfd),
		cmocka_unit_test(file_private),
		cmocka_unit_test(file_shared),
		cmocka_unit_test(file_shared_read_only),
		cmocka_unit_test(sysv),
		cmocka_unit_test(heap),
		cmocka_unit_test(stack),
		cmocka_unit_test(required),
		cmocka_unit_test(not_mapped_yet),
		cmocka_unit_test(unprivileged),
		cmocka_unit_test(not_dumpable),
		cmocka_unit_test(refused_eperm),
		cmocka_unit_test(refused_enosys),
		cmocka_unit_test(refused_unshare),
		cmocka_unit_test(refused_without_proc),
		cmocka_unit_test(proc_goes_away),
	};

	net_init(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
