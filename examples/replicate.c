// SPDX-License-Identifier: MIT
/*
 * Memory is kept the same in another process: each round sends the pages that have changed,
 * and nothing else. The program writes, maps and unmaps as it likes and marks nothing.
 */
#include <hmmu/mirror.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL
#define PAGES 4096UL
#define ROUNDS 8

/* From the one to the other: a run of pages; none: what is the checksum? */
struct message {
	unsigned long page;
	unsigned long n;
};

static unsigned char *region(void)
{
	void *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

static unsigned long checksum(const unsigned char *mem)
{
	const unsigned long *word = (const unsigned long *)mem;
	unsigned long sum = 14695981039346656037UL;

	for (size_t i = 0; i < PAGES * PAGE / sizeof(*word); i++)
		sum = (sum ^ word[i]) * 1099511628211UL;
	return sum;
}

static void all(ssize_t (*call)(int, void *, size_t), int fd, void *data, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = call(fd, (char *)data + at, len - at);

		if (n <= 0)
			_exit(call == read && !at ? 0 : 1);
		at += (size_t)n;
	}
}

static ssize_t put(int fd, void *data, size_t len)
{
	return write(fd, data, len);
}

static void replica(int fd)
{
	unsigned char *mem = region();
	struct message m;

	for (;;) {
		unsigned long sum;

		all(read, fd, &m, sizeof(m));
		all(read, fd, mem + m.page * PAGE, m.n * PAGE);
		if (m.n)
			continue;
		sum = checksum(mem);
		all(put, fd, &sum, sizeof(sum));
	}
}

struct sender {
	int fd;
	unsigned char *mem;
	unsigned long pages;
};

static int send_run(void *arg, unsigned long start, unsigned long npages)
{
	struct sender *s = arg;
	struct message m = {(start - (unsigned long)s->mem) / PAGE, npages};

	all(put, s->fd, &m, sizeof(m));
	all(put, s->fd, (void *)start, npages * PAGE);
	s->pages += npages;
	return 0;
}

/* What a program does. */
static void work(unsigned char *mem, int round)
{
	for (unsigned long i = 0; i < PAGES / 100; i++) {
		unsigned long at = (unsigned long)rand() % (PAGES * PAGE);

		mem[at] = (unsigned char)rand();
	}
	if (round == 3)
		madvise(mem + 100 * PAGE, 50 * PAGE, MADV_DONTNEED);
	if (round == 5 && mmap(mem + 900 * PAGE, 20 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		exit(1);
	if (round == 6)
		mem[905 * PAGE] = 1;
}

int main(void)
{
	struct hmmu_mm_options options = {.size = sizeof(options),
					  .sources = HMMU_SOURCE_USERFAULTFD};
	struct hmmu_mirror_options o = {
		.size = sizeof(o), .length = PAGES * PAGE, .flags = HMMU_MIRROR_DIRTY};
	struct hmmu_mirror *mirror;
	struct sender s = {0};
	struct mm_struct *mm;
	int pair[2], status, ret = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	pid = fork();
	if (!pid) {
		close(pair[0]);
		replica(pair[1]);
	}
	close(pair[1]);
	s.fd = pair[0];
	s.mem = region();
	if (hmmu_mm_open(&mm, &options)) {
		fprintf(stderr, "userfaultfd: %s\n", hmmu_source_why(HMMU_SOURCE_USERFAULTFD));
		return 77;
	}
	o.start = (unsigned long)s.mem;
	if (hmmu_mirror_open(&mirror, mm, NULL, NULL, &o))
		return 1;
	for (int round = 0; round < ROUNDS && !ret; round++) {
		struct message ask = {0, 0};
		unsigned long sum;

		work(s.mem, round);
		s.pages = 0;
		ret = hmmu_mirror_dirty(mirror, o.start, o.length, send_run, &s, NULL);
		all(put, s.fd, &ask, sizeof(ask));
		all(read, s.fd, &sum, sizeof(sum));
		printf("round %d: %4lu of %lu pages sent, %s\n", round, s.pages, PAGES,
		       sum == checksum(s.mem) ? "the same" : "DIFFERENT");
		if (ret || sum != checksum(s.mem))
			ret = 1;
	}
	close(s.fd);
	hmmu_mirror_close(mirror);
	if (waitpid(pid, &status, 0) != pid || status || hmmu_mm_close(mm))
		ret = 1;
	return ret;
}
