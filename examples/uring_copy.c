// SPDX-License-Identifier: MIT
/*
 * uring_copy.c - a file copy with O_DIRECT that enciphers on the way (XOR stands for a
 * cipher), while another thread gives each buffer back to the system and maps it anew
 * between two uses, as free() and malloc() do.
 *
 *	uring_copy [--safe|--unsafe] [DIRECTORY]
 *
 * --safe: fixed buffers by hmmu_uring_prep_*(). --unsafe: registered by hand, once, as in the
 * manual. Neither: both, and it fails unless the first is right and the second is not.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <hmmu/uring.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 65536u
#define BLOCKS 256u
#define DEPTH 8u
#define KEY 0x5a

struct job {
	struct hmmu_uring_req req;
	unsigned char *mem;
	unsigned int slot;  /* --unsafe: its number in the ring's table */
	unsigned int block; /* of the file */
	bool writing;
};

static struct io_uring ring;
static struct hmmu_uring *u; /* NULL: --unsafe */
static struct job jobs[DEPTH];
static int from, to;
static int used[2], ready[2]; /* pipes: jobs whose buffer is to be, or has been, remapped */

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static unsigned char content(unsigned int block, unsigned int i)
{
	return (unsigned char)(block * 31 + i / 512 + i);
}

/* The other thread. */
static void *remapper(void *arg)
{
	struct job *job;

	while (read(used[0], &job, sizeof(job)) == sizeof(job)) {
		unsigned char *at = job->mem;

		munmap(at, BLOCK);
		/* The same address, as malloc() would get it, unless somebody was faster. */
		job->mem = mmap(at, BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
		need(job->mem != MAP_FAILED, "mmap");
		need(write(ready[1], &job, sizeof(job)) == sizeof(job), "pipe");
	}
	return NULL;
}

static void prep(struct job *job)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	uint64_t at = (uint64_t)job->block * BLOCK;

	if (u && job->writing)
		hmmu_uring_prep_write(u, sqe, to, job->mem, BLOCK, at, &job->req);
	else if (u)
		hmmu_uring_prep_read(u, sqe, from, job->mem, BLOCK, at, &job->req);
	else if (job->writing)
		io_uring_prep_write_fixed(sqe, to, job->mem, BLOCK, at, (int)job->slot);
	else
		io_uring_prep_read_fixed(sqe, from, job->mem, BLOCK, at, (int)job->slot);
	io_uring_sqe_set_data(sqe, job);
}

/* True: the block has been copied. */
static bool completed(struct job *job, int res)
{
	int n = u ? hmmu_uring_complete(u, &job->req, res) : res;

	if (n != BLOCK && n != -ESTALE) {
		fprintf(stderr, "%s: %s\n", job->writing ? "write" : "read", strerror(-n));
		exit(1);
	}
	if (n == BLOCK && job->writing)
		return true;
	if (n == BLOCK) { /* read */
		for (unsigned int i = 0; i < BLOCK; i++)
			job->mem[i] ^= KEY;
		job->writing = true;
	}
	prep(job); /* of -ESTALE the same again: nothing is remapped during use here */
	return false;
}

/* A job whose buffer is ready; waits if told to. */
static struct job *next_job(bool wait)
{
	struct pollfd fd = {.fd = ready[0], .events = POLLIN};
	struct job *job;

	if (poll(&fd, 1, wait ? -1 : 0) != 1)
		return NULL;
	need(read(ready[0], &job, sizeof(job)) == sizeof(job), "pipe");
	return job;
}

static void copy(void)
{
	unsigned int next = 0, flying = 0;
	struct io_uring_cqe *cqe;
	struct job *job;

	for (unsigned int done = 0; done < BLOCKS;) {
		while (next < BLOCKS && (job = next_job(!flying))) {
			job->block = next++;
			job->writing = false;
			flying++;
			prep(job);
		}
		need(io_uring_submit_and_wait(&ring, 1) >= 0, "submit");
		while (!io_uring_peek_cqe(&ring, &cqe)) {
			int res = cqe->res;

			job = io_uring_cqe_get_data(cqe);
			io_uring_cqe_seen(&ring, cqe);
			if (!completed(job, res))
				continue;
			done++;
			flying--;
			need(write(used[1], &job, sizeof(job)) == sizeof(job), "pipe");
		}
	}
}

/* With ordinary reads: blocks that are not what the copy should have made. */
static unsigned int wrong_blocks(void)
{
	static unsigned char block[BLOCK] __attribute__((aligned(4096)));
	unsigned int wrong = 0;

	for (unsigned int b = 0; b < BLOCKS; b++) {
		unsigned int i = 0;

		need(pread(to, block, BLOCK, (off_t)b * BLOCK) == BLOCK, "pread");
		while (i < BLOCK && block[i] == (content(b, i) ^ KEY))
			i++;
		wrong += i < BLOCK;
	}
	return wrong;
}

static void start(bool unsafe)
{
	struct iovec iov[DEPTH];

	need(!io_uring_queue_init(DEPTH, &ring, 0), "io_uring");
	need(!pipe(used) && !pipe(ready), "pipe");
	for (unsigned int i = 0; i < DEPTH; i++) {
		jobs[i].mem = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		need(jobs[i].mem != MAP_FAILED, "mmap");
		jobs[i].slot = i;
		iov[i] = (struct iovec){jobs[i].mem, BLOCK};
	}
	if (unsafe)
		need(!io_uring_register_buffers(&ring, iov, DEPTH), "register");
	else
		need(!hmmu_uring_open(&u, &ring, NULL, NULL), "hmmu_uring_open");
}

static unsigned int run(bool unsafe)
{
	struct hmmu_uring_stats s = {0};
	unsigned int wrong;
	pthread_t thread;
	struct job *job;

	start(unsafe);
	need(!pthread_create(&thread, NULL, remapper, NULL), "thread");
	for (job = jobs; job < jobs + DEPTH; job++)
		need(write(used[1], &job, sizeof(job)) == sizeof(job), "pipe");
	copy();
	close(used[1]);
	pthread_join(thread, NULL);
	if (u) {
		hmmu_uring_stat(u, &s);
		need(!hmmu_uring_close(u), "hmmu_uring_close");
		u = NULL;
	}
	io_uring_queue_exit(&ring);
	close(used[0]);
	close(ready[0]);
	close(ready[1]);
	for (job = jobs; job < jobs + DEPTH; job++)
		munmap(job->mem, BLOCK);
	wrong = wrong_blocks();
	printf("%-22s %u blocks copied, %u wrong",
	       unsafe ? "registered by hand:" : "with hmmu:", BLOCKS, wrong);
	if (!unsafe)
		printf(" (%lu fixed, %lu plain, %lu stale)", s.fixed, s.plain, s.stale);
	printf("\n");
	return wrong;
}

/* With O_DIRECT if this file system has it; the name goes at once. */
static int open_file(const char *dir, const char *name)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.%d", dir, name, (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
	if (fd < 0 && errno == EINVAL) {
		printf("no O_DIRECT in %s: buffered\n", dir);
		unlink(path);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	need(fd >= 0, path);
	unlink(path);
	return fd;
}

int main(int argc, char **argv)
{
	static unsigned char block[BLOCK] __attribute__((aligned(4096)));
	bool safe = true, unsafe = true, ok = true;
	const char *dir = ".";

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--safe"))
			unsafe = false;
		else if (!strcmp(argv[i], "--unsafe"))
			safe = false;
		else
			dir = argv[i];
	}
	from = open_file(dir, "uring_copy.from");
	to = open_file(dir, "uring_copy.to");
	for (unsigned int b = 0; b < BLOCKS; b++) {
		for (unsigned int i = 0; i < BLOCK; i++)
			block[i] = content(b, i);
		need(pwrite(from, block, BLOCK, (off_t)b * BLOCK) == BLOCK, "pwrite");
	}
	if (safe)
		ok = run(false) == 0;
	if (safe && unsafe)
		need(!ftruncate(to, 0), "ftruncate");
	if (unsafe)
		ok = (run(true) > 0 || !safe) && ok;
	return ok ? 0 : 1;
}
