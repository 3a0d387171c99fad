// SPDX-License-Identifier: MIT
/*
 * measure.c - what the adapter costs: 64 KiB O_DIRECT reads through it, with buffers that
 * were registered by hand, and plain ones. The three take turns in one run, over the same
 * file and memory; the ratio is of neighbouring turns, so that what drifts drifts out.
 *
 *	uring-adapter-measure [--quick] [--check] [DIRECTORY...]
 *
 * --check: exit 1 unless the median ratio to hand-registered is at most 1.05 everywhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <hmmu/uring.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 65536u
#define BUFFERS 64u
#define MAX_DEPTH 8u
#define MAX_ROUNDS 200u

enum side {
	HAND,
	ADAPTER,
	PLAIN,
	SIDES,
};

static const char *const names[] = {"by hand", "adapter", "plain"};
static struct io_uring rings[SIDES];
static struct hmmu_uring *u;
static struct hmmu_uring_req reqs[BUFFERS];
static unsigned char *mem;
static unsigned int rounds = 200, reads = 200;
static double us[SIDES][MAX_ROUNDS];

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void prep(enum side side, int fd, unsigned int i)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&rings[side]);
	unsigned int slot = i % BUFFERS;
	unsigned char *at = mem + (size_t)slot * BLOCK;
	uint64_t offset = (uint64_t)slot * BLOCK;

	if (side == HAND)
		io_uring_prep_read_fixed(sqe, fd, at, BLOCK, offset, (int)slot);
	else if (side == PLAIN)
		io_uring_prep_read(sqe, fd, at, BLOCK, offset);
	else
		need(!hmmu_uring_prep_read(u, sqe, fd, at, BLOCK, offset, &reqs[slot]), "prep");
	/* Every side has something to find at completion. */
	if (side != ADAPTER)
		io_uring_sqe_set_data(sqe, &reqs[slot]);
}

static void reap(enum side side, unsigned int n)
{
	struct io_uring *ring = &rings[side];
	struct io_uring_cqe *cqe;

	while (n--) {
		int res;

		need(!io_uring_wait_cqe(ring, &cqe), "wait");
		res = cqe->res;
		if (side == ADAPTER)
			res = hmmu_uring_complete(u, io_uring_cqe_get_data(cqe), res);
		io_uring_cqe_seen(ring, cqe);
		if (res != (int)BLOCK) {
			fprintf(stderr, "%s: %s\n", names[side], strerror(-res));
			exit(1);
		}
	}
}

/* Microseconds a read. */
static double turn(enum side side, int fd, unsigned int depth)
{
	double start = now_us();

	for (unsigned int i = 0; i < reads; i += depth) {
		for (unsigned int d = 0; d < depth; d++)
			prep(side, fd, i + d);
		need(io_uring_submit_and_wait(&rings[side], depth) >= 0, "submit");
		reap(side, depth);
	}
	return (now_us() - start) / reads;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double at(const double *sorted, unsigned int percent)
{
	return sorted[(rounds - 1) * percent / 100];
}

/* The median ratio of the adapter to hand-registered. */
static double measure(int fd, unsigned int depth)
{
	double ratio[SIDES][MAX_ROUNDS];

	for (unsigned int r = 0; r < rounds + 2; r++) {
		for (unsigned int s = 0; s < SIDES; s++) {
			enum side side = (r + s) % SIDES;
			double t = turn(side, fd, depth);

			if (r >= 2) /* the first two warm up */
				us[side][r - 2] = t;
		}
	}
	for (unsigned int s = 0; s < SIDES; s++) {
		for (unsigned int r = 0; r < rounds; r++)
			ratio[s][r] = us[s][r] / us[HAND][r];
		qsort(ratio[s], rounds, sizeof(double), ascending);
	}
	for (unsigned int s = 0; s < SIDES; s++) {
		qsort(us[s], rounds, sizeof(double), ascending);
		printf("  depth %u  %-8s %7.2f us  (10 %% %.2f, 90 %% %.2f)  ratio %.3f "
		       "(%.3f..%.3f)\n",
		       depth, names[s], at(us[s], 50), at(us[s], 10), at(us[s], 90),
		       at(ratio[s], 50), at(ratio[s], 10), at(ratio[s], 90));
	}
	return at(ratio[ADAPTER], 50);
}

/*
 * What the adapter does itself, without a disk: an entry prepared and completed, less the same
 * entry prepared by hand. Nanoseconds.
 */
static double own_ns(void)
{
	struct io_uring_sqe sqe = {0};
	double took[2][MAX_ROUNDS];
	const unsigned int n = 20000;

	for (unsigned int r = 0; r < rounds; r++) {
		for (unsigned int side = HAND; side <= ADAPTER; side++) {
			double start = now_us();

			for (unsigned int i = 0; i < n; i++) {
				unsigned int slot = i % BUFFERS;
				unsigned char *buf = mem + (size_t)slot * BLOCK;

				if (side == HAND) {
					io_uring_prep_read_fixed(&sqe, 0, buf, BLOCK, 0,
								 (int)slot);
				} else {
					hmmu_uring_prep_read(u, &sqe, 0, buf, BLOCK, 0,
							     &reqs[slot]);
					hmmu_uring_complete(u, &reqs[slot], BLOCK);
				}
				__asm__ volatile("" ::"m"(sqe) : "memory");
			}
			took[side][r] = (now_us() - start) * 1000 / n;
		}
	}
	qsort(took[HAND], rounds, sizeof(double), ascending);
	qsort(took[ADAPTER], rounds, sizeof(double), ascending);
	return at(took[ADAPTER], 50) - at(took[HAND], 50);
}

static void open_rings(void)
{
	struct iovec iov[BUFFERS];

	mem = mmap(NULL, (size_t)BUFFERS * BLOCK, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	need(mem != MAP_FAILED, "mmap");
	for (unsigned int i = 0; i < BUFFERS; i++)
		iov[i] = (struct iovec){mem + (size_t)i * BLOCK, BLOCK};
	for (unsigned int s = 0; s < SIDES; s++)
		need(!io_uring_queue_init(MAX_DEPTH, &rings[s], 0), "io_uring");
	need(!io_uring_register_buffers(&rings[HAND], iov, BUFFERS), "register");
	need(!hmmu_uring_open(&u, &rings[ADAPTER], NULL, NULL), "hmmu_uring_open");
}

/* -1: not here. The name goes at once. */
static int open_file(const char *dir)
{
	char path[512];
	struct statfs fs;
	int fd;

	snprintf(path, sizeof(path), "%s/uring_adapter.%d", dir, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
	unlink(path);
	if (fd < 0) {
		printf("%s: not measured: %s\n", dir,
		       errno == EINVAL ? "no O_DIRECT on this file system" : strerror(errno));
		return -1;
	}
	for (unsigned int i = 0; i < BUFFERS; i++)
		need(pwrite(fd, mem, BLOCK, (off_t)i * BLOCK) == BLOCK, "pwrite");
	need(!fsync(fd) && !fstatfs(fd, &fs), "statfs");
	printf("%s (%s): 64 KiB O_DIRECT reads, %u turns of %u reads, three sides in turn\n",
	       dir, fs.f_type == TMPFS_MAGIC ? "tmpfs" : "a file system", rounds, reads);
	return fd;
}

int main(int argc, char **argv)
{
	const char *dirs[8] = {".", "/dev/shm"};
	struct hmmu_uring_stats s;
	unsigned int n = 0, measured = 0;
	bool check = false, good = true;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick"))
			rounds = 5, reads = 80;
		else if (!strcmp(argv[i], "--check"))
			check = true;
		else if (n < 8)
			dirs[n++] = argv[i];
	}
	open_rings();
	for (unsigned int i = 0; i < (n ? n : 2); i++) {
		int fd = open_file(dirs[i]);

		if (fd < 0)
			continue;
		measured++;
		good = measure(fd, 1) <= 1.05 && good;
		good = measure(fd, MAX_DEPTH) <= 1.05 && good;
		close(fd);
	}
	printf("the adapter's own work: %.1f ns a request (a hit, prepared and completed)\n",
	       own_ns());
	hmmu_uring_stat(u, &s);
	printf("the adapter: %lu fixed, %lu plain, %lu hits, %lu registrations\n", s.fixed,
	       s.plain, s.cache.hits, s.cache.regs);
	need(!hmmu_uring_close(u), "close");
	if (!measured || (s.plain && check))
		good = false;
	return (check || !measured) && !good ? 1 : 0;
}
