// SPDX-License-Identifier: MIT
/*
 * test_calls.c - each call, made by a bare syscall instruction: the old page is still there
 * in start's callback, the change is there in end's, and the caller gets what the kernel
 * would have answered.
 */
#include "sec.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "../hooks/recorder.h"

#define NOT_CALLED (-2)
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define ADVICE_GUARD_INSTALL 102

static const char *target;
static int at_start, at_end;

static void callback(const struct record *r)
{
	if ((unsigned long)target < r->start || (unsigned long)target >= r->last)
		return;
	if (r->end)
		at_end = sec_peek(target);
	else
		at_start = sec_peek(target);
}

static void look_at(const void *p)
{
	target = p;
	at_start = at_end = NOT_CALLED;
}

static void expect(const char *what, long ret, int before, int after)
{
	if (ret < 0 || at_start != before || at_end != after)
		fprintf(stderr, "%s: %ld, %d then %d\n", what, ret, at_start, at_end);
	CHECK(ret >= 0 && at_start == before && at_end == after);
	sec_all_closed();
}

static void ready(void)
{
	rec_callback = callback;
	rec_watch(true);
	sec_open();
}

/* Its own function: this program's symbol is the hooks' wrapper. */
static int (*libc_munmap(void))(void *, size_t)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	CHECK(libc);
	return (int (*)(void *, size_t))dlsym(libc, "munmap");
}

static void unmap(void)
{
	char *p = sec_pages(2, 'A');

	look_at(p + PAGE);
	expect("munmap", raw(SYS_munmap, p, 2 * PAGE), 'A', -1);
	CHECK(rec_covers(MMU_NOTIFY_UNMAP, (unsigned long)p, (unsigned long)p + 2 * PAGE));
	p = sec_pages(1, 'A');
	look_at(p);
	expect("libc's munmap", libc_munmap()(p, PAGE), 'A', -1);
}

static void map_fixed(void)
{
	char *p = sec_pages(1, 'A');
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	int fd = memfd_create("file", 0);

	look_at(p);
	expect("mmap", raw(SYS_mmap, p, PAGE, PROT_READ, flags | MAP_FIXED, -1, 0), 'A', 0);
	CHECK(write(fd, "F", 1) == 1 && ftruncate(fd, PAGE) == 0);
	look_at(p);
	expect("mmap of a file",
	       raw(SYS_mmap, p, PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), 0, 'F');
	look_at(p);
	CHECK(raw(SYS_mmap, p, PAGE, PROT_READ, flags | MAP_FIXED_NOREPLACE, -1, 0) == -EEXIST);
	CHECK(raw(SYS_mmap, p, PAGE, PROT_READ, flags, -1, 0) > 0);
	CHECK(at_start == NOT_CALLED);
}

static void remap(void)
{
	char *p = sec_pages(4, 'A'), *to = sec_pages(4, 'D');

	look_at(p);
	expect("mremap, source",
	       raw(SYS_mremap, p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to), 'A', -1);
	look_at(to + PAGE);
	expect("mremap, destination",
	       raw(SYS_mremap, p + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to + PAGE),
	       'D', 'A');
	look_at(p + 3 * PAGE);
	expect("mremap, shrinks", raw(SYS_mremap, p + 2 * PAGE, 2 * PAGE, PAGE, 0), 'A', -1);
}

static void advise(void)
{
	char *p = sec_pages(3, 'A');
	struct iovec iov[2] = {{p + PAGE, PAGE}, {p + 2 * PAGE, PAGE}};
	long ret, self = raw(SYS_pidfd_open, getpid(), 0);

	look_at(p);
	expect("madvise", raw(SYS_madvise, p, PAGE, MADV_DONTNEED), 'A', 0);
	look_at(p);
	CHECK(raw(SYS_madvise, p, PAGE, MADV_WILLNEED) == 0 && at_start == NOT_CALLED);
	ret = raw(SYS_process_madvise, self, iov, 2, MADV_DONTNEED, 0);
	look_at(p + 2 * PAGE);
	memset(p + PAGE, 'A', 2 * PAGE);
	if (ret > 0)
		expect("process_madvise",
		       raw(SYS_process_madvise, self, iov, 2, MADV_DONTNEED, 0), 'A', 0);
	p[PAGE] = 'A';
	look_at(p + PAGE);
	ret = raw(SYS_madvise, p + PAGE, PAGE, ADVICE_GUARD_INSTALL);
	if (ret != -EINVAL)
		expect("guard", ret, 'A', -1);
}

static void protect(void)
{
	char *p = sec_pages(2, 'A');

	look_at(p);
	expect("mprotect", raw(SYS_mprotect, p, PAGE, PROT_NONE), 'A', -1);
	look_at(p + PAGE);
	expect("pkey_mprotect", raw(SYS_pkey_mprotect, p + PAGE, PAGE, PROT_NONE, -1), 'A', -1);
}

static void move_break(void)
{
	unsigned long now = (unsigned long)raw(SYS_brk, 0);
	unsigned long page = (now + PAGE - 1) & -PAGE;

	look_at((void *)page);
	CHECK((unsigned long)raw(SYS_brk, page + 2 * PAGE) == page + 2 * PAGE);
	CHECK(at_start == NOT_CALLED); /* nothing goes */
	*(char *)page = 'A';
	expect("brk", raw(SYS_brk, page), 'A', -1);
	CHECK((unsigned long)raw(SYS_brk, 0) == page);
}

static void segments(void)
{
	int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600 | IPC_CREAT);
	char *p = shmat(id, NULL, 0), *q = sec_pages(2, 'A');

	memset(p, 'S', 2 * PAGE);
	look_at(p + PAGE);
	expect("shmdt", raw(SYS_shmdt, p), 'S', -1);
	look_at(q + PAGE);
	expect("shmat", raw(SYS_shmat, id, q, SHM_REMAP), 'A', 'S');
	CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

static void remap_pages(void)
{
	char *p =
		mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long ret;

	p[0] = 'A';
	p[PAGE] = 'B';
	look_at(p);
	ret = raw(SYS_remap_file_pages, p, PAGE, 0, 1, 0);
	if (ret != -ENOSYS)
		expect("remap_file_pages", ret, 'A', 'B');
}

/* A private and a shared mapping, the second by a descriptor that only writes. */
static void truncate_file(void)
{
	char name[] = "/tmp/hmmu-seccomp-XXXXXX";
	int fd = mkstemp(name), wr = open(name, O_WRONLY), other = memfd_create("other", 0);
	char *p, *q;

	CHECK(fd >= 0 && wr >= 0 && unlink(name) == 0);
	CHECK(write(fd, "F", 1) == 1 && ftruncate(fd, 2 * PAGE) == 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	q = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*p = 'P';
	look_at(p);
	expect("ftruncate, private", raw(SYS_ftruncate, fd, 0), 'P', -1);
	CHECK(ftruncate(fd, 2 * PAGE) == 0);
	q[PAGE] = 'Q';
	look_at(q + PAGE);
	expect("ftruncate, written only", raw(SYS_ftruncate, wr, PAGE), 'Q', -1);
	CHECK(ftruncate(fd, 2 * PAGE) == 0);
	q[PAGE] = 'Q';
	look_at(q + PAGE);
	expect("fallocate",
	       raw(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE),
	       'Q', 0);
	look_at(q);
	CHECK(raw(SYS_fallocate, fd, FALLOC_FL_KEEP_SIZE, 0, PAGE) == 0);
	CHECK(at_start == NOT_CALLED);
	CHECK(raw(SYS_fallocate, fd, 0, 0, PAGE) == 0 && at_start != NOT_CALLED);
	look_at(q); /* not a mapping of that file */
	CHECK(raw(SYS_ftruncate, other, PAGE) == 0 && at_start == NOT_CALLED);
}

/* ---- truncate --------------------------------------------------------- */

static char path_name[] = "/tmp/hmmu-seccomp-XXXXXX", path_other[] = "/tmp/hmmu-seccomp-XXXXXX";
static char path_link[64];
static char *path_page;

/* Two pages, the second of which is looked at. */
static void path_file(int fd)
{
	CHECK(raw(SYS_ftruncate, fd, 2 * PAGE) == 0);
	path_page[PAGE] = 'Q';
	look_at(path_page + PAGE);
}

/* While the look-up is over and the call is not made. */
static void redirect(const struct record *r)
{
	static uint32_t once; /* the spawner's own calls are bracketed, too */

	callback(r);
	if (!r->end && at_start == 'Q' && !hmmu_add_seqcst(&once, 1))
		CHECK(rename(path_other, path_name) == 0);
}

static void redirected(int fd)
{
	int other = mkstemp(path_other);

	CHECK(other >= 0 && ftruncate(other, 3 * PAGE) == 0);
	path_file(fd);
	rec_callback = redirect;
	expect("truncate, renamed over", raw(SYS_truncate, path_name, PAGE), 'Q', -1);
	rec_callback = callback;
	CHECK(lseek(fd, 0, SEEK_END) == (off_t)PAGE);
	CHECK(lseek(other, 0, SEEK_END) == (off_t)(3 * PAGE));
	CHECK(close(other) == 0);
}

static void truncate_path(void)
{
	int (*libc)(const char *, off_t) =
		(int (*)(const char *, off_t))dlsym(RTLD_NEXT, "truncate");
	int fd = mkstemp(path_name), other;
	char *p;

	CHECK(fd >= 0 && raw(SYS_ftruncate, fd, 2 * PAGE) == 0);
	path_page = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	*p = 'P';
	look_at(p);
	expect("truncate, private", raw(SYS_truncate, path_name, 0), 'P', -1);
	path_file(fd);
	expect("truncate", raw(SYS_truncate, path_name, PAGE), 'Q', -1);
	path_file(fd);
	expect("libc's truncate", libc(path_name, PAGE), 'Q', -1);
	snprintf(path_link, sizeof(path_link), "%s-link", path_name);
	CHECK(symlink(path_name, path_link) == 0);
	path_file(fd);
	expect("truncate, a link", raw(SYS_truncate, path_link, PAGE), 'Q', -1);
	CHECK(unlink(path_link) == 0);
	snprintf(path_link, sizeof(path_link), "/proc/self/fd/%d", fd);
	path_file(fd);
	expect("truncate, a magic link", raw(SYS_truncate, path_link, PAGE), 'Q', -1);
	CHECK(fchmod(fd, 0200) == 0 && chdir("/tmp") == 0);
	path_file(fd);
	expect("truncate, relative", raw(SYS_truncate, path_name + 5, PAGE), 'Q', -1);
	redirected(fd);
	other = open(path_name, O_WRONLY);
	look_at(path_page); /* not a mapping of what is there now */
	CHECK(raw(SYS_truncate, path_name, 0) == 0 && at_start == NOT_CALLED);
	CHECK(lseek(other, 0, SEEK_END) == 0 && close(other) == 0);
	CHECK(unlink(path_name) == 0 && sec_lost == 0);
	CHECK(open("/dev/null", O_RDONLY) == other); /* no descriptor is left */
}

/* ld.so's own munmap. */
static void linker(void)
{
	void *lib = dlopen("libm.so.6", RTLD_NOW);
	void *at;

	CHECK(lib);
	at = dlsym(lib, "cos");
	look_at(at);
	CHECK(dlclose(lib) == 0);
	CHECK(at_start >= 0 && at_end == -1);
}

/* ---- the answers ------------------------------------------------------ */

static char *hole, *plain;
static int file, sealed_page;

/* Their own files: what runs at the same time changes nothing. */
static char answers_dir[] = "/tmp/hmmu-seccomp-XXXXXX";

static void make_paths(void)
{
	CHECK(mkdtemp(answers_dir) && chdir(answers_dir) == 0);
	CHECK(close(open("file", O_CREAT | O_RDWR, 0600)) == 0 && mkdir("dir", 0700) == 0);
	CHECK(symlink("loop", "loop") == 0 && symlink("none", "dangling") == 0);
	CHECK(mknod("fifo", S_IFIFO | 0600, 0) == 0 && mkdir("shut", 0) == 0);
	CHECK(close(open("kept", O_CREAT | O_RDWR, 0400)) == 0);
}

static void remove_paths(void)
{
	static const char *const names[] = {"file", "dir",  "loop", "dangling",
					    "fifo", "shut", "kept"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		CHECK(remove(names[i]) == 0);
	CHECK(chdir("/") == 0 && rmdir(answers_dir) == 0);
}

static long path_answer(int i)
{
	static char name[300], path[2 * PAGE];
	static const char *const paths[] = {
		"none", "",	  "dir",  "dir/",      "file/",	       "file/below", "loop",
		"fifo", "shut/x", "kept", "/dev/null", "/proc/self/x", "dangling",   "file"};
	const int n = (int)(sizeof(paths) / sizeof(paths[0]));

	memset(name, 'n', sizeof(name) - 1);
	memset(path, '/', sizeof(path) - 1);
	i -= 30;
	if (i < n)
		return raw(SYS_truncate, paths[i], 1);
	switch (i - n) {
	case 0:
		return raw(SYS_truncate, name, 0);
	case 1:
		return raw(SYS_truncate, path, 0);
	case 2:
		return raw(SYS_truncate, hole, 0);
	case 3:
		return raw(SYS_truncate, NULL, 0);
	case 4:
		return raw(SYS_truncate, -PAGE, 0);
	case 5:
		return raw(SYS_truncate, hole, -1);
	case 6:
		return raw(SYS_truncate, "none", -1);
	case 7:
		return raw(SYS_truncate, "file", ~0UL >> 1);
	default:
		return 1;
	}
}

static long more_answers(int i)
{
	void *bad = (void *)-PAGE;
	struct iovec iov = {plain, PAGE};

	switch (i) {
	case 15:
		return raw(SYS_shmdt, plain);
	case 16:
		return raw(SYS_shmat, -1, plain, SHM_REMAP);
	case 17:
		return raw(SYS_ftruncate, 1000, 0);
	case 18:
		return raw(SYS_ftruncate, file, -1);
	case 19:
		return raw(SYS_fallocate, file, FALLOC_FL_PUNCH_HOLE, 0, PAGE);
	case 20:
		return raw(SYS_fallocate, -1, FALLOC_FL_ZERO_RANGE, 0, PAGE);
	case 21:
		return raw(SYS_process_madvise, 1000, &iov, 1, MADV_DONTNEED, 0);
	case 22:
		return raw(SYS_process_madvise, sealed_page, bad, 1, MADV_DONTNEED, 0);
	case 23:
		return raw(SYS_process_madvise, sealed_page, &iov, 5000, MADV_DONTNEED, 0);
	case 24:
		return raw(SYS_process_madvise, sealed_page, &iov, 1, MADV_DONTNEED, 1);
	case 25:
		return raw(SYS_remap_file_pages, plain, PAGE, 0, 0, 0);
	case 26:
		return raw(SYS_pkey_mprotect, plain, PAGE, PROT_READ, 77);
	case 27:
		return raw(SYS_madvise, plain, PAGE, MADV_DONTNEED);
	case 28:
		return raw(SYS_brk, 1) == raw(SYS_brk, 0);
	case 29:
		return raw(SYS_ftruncate, 0, 0);
	default:
		return path_answer(i);
	}
}

static long answer(int i)
{
	void *bad = (void *)-PAGE;

	switch (i) {
	case 0:
		return raw(SYS_munmap, plain + 1, PAGE);
	case 1:
		return raw(SYS_munmap, plain, 0);
	case 2:
		return raw(SYS_munmap, bad, 2 * PAGE);
	case 3:
		return raw(SYS_munmap, hole, PAGE);
	case 4:
		return raw(SYS_madvise, hole, PAGE, MADV_DONTNEED);
	case 5:
		return raw(SYS_madvise, plain + 1, PAGE, MADV_DONTNEED);
	case 6:
		return raw(SYS_mprotect, hole, PAGE, PROT_READ);
	case 7:
		return raw(SYS_mprotect, plain, PAGE, 0x1000000);
	case 8:
		return raw(SYS_mremap, hole, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
	case 9:
		return raw(SYS_mremap, plain, PAGE, PAGE, MREMAP_FIXED, plain + PAGE);
	case 10:
		return raw(SYS_mremap, plain, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
			   plain + PAGE);
	case 11:
		return raw(SYS_mmap, plain, PAGE, PROT_READ, MAP_FIXED | MAP_PRIVATE, 1000, 0);
	case 12:
		return raw(SYS_mmap, plain + 1, PAGE, PROT_READ,
			   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	case 13:
		return raw(SYS_mmap, plain, 0, PROT_READ,
			   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	case 14:
		return raw(SYS_mmap, 0x7ffffffff000, 2 * PAGE, PROT_READ,
			   MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	default:
		return more_answers(i);
	}
}

#define ANSWERS 52

static void answers(void)
{
	long bare[ANSWERS];

	plain = sec_pages(4, 'A');
	hole = sec_pages(1, 'A');
	munmap(hole, PAGE);
	file = memfd_create("file", 0);
	sealed_page = (int)raw(SYS_pidfd_open, getpid(), 0);
	make_paths();
	/* Root is refused nothing. As the other threads will be, that come later. */
	CHECK(getuid() || !chown(answers_dir, 65534, 65534));
	CHECK(getuid() || (!setgid(65534) && !setuid(65534)));
	for (int i = 0; i < ANSWERS; i++)
		bare[i] = answer(i);
	ready();
	for (int i = 0; i < ANSWERS; i++) {
		long ret = answer(i);

		if (ret != bare[i])
			fprintf(stderr, "answer %d: bare %ld, served %ld\n", i, bare[i], ret);
		CHECK(ret == bare[i]);
	}
	CHECK(sec_lost == 0);
	remove_paths();
}

/* What another thread maps meanwhile is told by return. */
static unsigned int watched_as(unsigned int op)
{
	return op == HMMU_OP_FTRUNCATE || op == HMMU_OP_FALLOCATE ? HMMU_BY_RETURN
								  : HMMU_BRACKETED;
}

/* A second open finds it done; every cell says what the others rely on. */
static void cells(void)
{
	unsigned int (*exactness)(unsigned int, unsigned int) = hmmu_source_seccomp.exactness;

	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
			CHECK(exactness(op, caller) == HMMU_UNWATCHED);
	ready();
	sec_open();
	CHECK(hmmu_seccomp_why()[0] == '\0' && hmmu_seccomp_keeper() > 0);
	for (unsigned int op = 0; op < HMMU_OP_NR; op++)
		for (unsigned int caller = 0; caller < HMMU_CALLER_NR; caller++)
			if (op != HMMU_OP_FORK && caller != HMMU_CALLER_EXPLICIT)
				CHECK(exactness(op, caller) == (caller <= HMMU_CALLER_LDSO
									? watched_as(op)
									: HMMU_UNWATCHED));
}

#define OPENED(name)                \
	static void name##_op(void) \
	{                           \
		ready();            \
		name();             \
	}
OPENED(unmap)
OPENED(map_fixed)
OPENED(remap)
OPENED(advise)
OPENED(protect)
OPENED(move_break)
OPENED(segments)
OPENED(remap_pages)
OPENED(truncate_file)
OPENED(truncate_path)
OPENED(linker)

/* The short way: the receiver serves what nobody has to be called for. */
static void quiet(void)
{
	ready();
	sec_quiet = true;
	unmap();
	map_fixed();
	advise();
	protect();
	remap(); /* not short: two ranges */
	truncate_file();
	CHECK(sec_quiet_starts > 5);
}

int main(int argc, char **argv)
{
	static const struct sec_case cases[] = {
		{"munmap", unmap_op},		{"mmap", map_fixed_op},
		{"mremap", remap_op},		{"madvise", advise_op},
		{"mprotect", protect_op},	{"brk", move_break_op},
		{"shm", segments_op},		{"remap_file_pages", remap_pages_op},
		{"truncate", truncate_file_op}, {"truncate path", truncate_path_op},
		{"dlclose", linker_op},		{"quiet", quiet},
		{"answers", answers},		{"cells", cells},
	};

	return sec_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
