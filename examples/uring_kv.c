// SPDX-License-Identifier: MIT
/*
 * uring_kv.c - the read loop of a key-value store: random records with O_DIRECT, each checked
 * against its key, while another thread remaps buffers, also those of requests in flight.
 *
 *	uring_kv [--safe|--unsafe] [DIRECTORY]
 *
 * --safe: fixed buffers by hmmu_uring_prep_read(); a read that was overtaken says -ESTALE and
 * is done again. --unsafe: registered by hand. Neither: both, and it fails unless the first
 * is right and the second is not.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <fcntl.h>
#include <hmmu/uring.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECORD 4096u
#define RECORDS 1024u
#define READS 20000u
#define DEPTH 16u

struct record {
	uint64_t key;
	uint64_t value[RECORD / 8 - 1];
};

/* A read in flight, and its buffer. */
struct get {
	struct hmmu_uring_req req;
	uint64_t key;
	unsigned int slot; /* --unsafe */
	/* Guards the mapping: who holds it may look at the memory. */
	pthread_mutex_t lock;
	struct record *mem;
	bool plain; /* in flight without a slot: as with any read, the memory has to stay */
};

static struct io_uring ring;
static struct hmmu_uring *u; /* NULL: --unsafe */
static struct get gets[DEPTH];
static int file;
static sem_t turns; /* the remapper's: it shall not starve the reads */
static atomic_bool stop;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static uint64_t random_from(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void remap(struct get *get)
{
	void *at = get->mem;

	pthread_mutex_lock(&get->lock);
	if (!get->plain) {
		munmap(at, RECORD);
		get->mem = mmap(at, RECORD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				-1, 0);
		need(get->mem != MAP_FAILED, "mmap");
	}
	pthread_mutex_unlock(&get->lock);
}

static void *remapper(void *arg)
{
	uint64_t state = 1;

	while (!sem_wait(&turns) && !atomic_load(&stop))
		remap(&gets[random_from(&state) % DEPTH]);
	return NULL;
}

static void prep(struct get *get)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	pthread_mutex_lock(&get->lock);
	if (u) {
		hmmu_uring_prep_read(u, sqe, file, get->mem, RECORD, get->key * RECORD,
				     &get->req);
		get->plain = get->req.kind == HMMU_URING_PLAIN;
	} else {
		io_uring_prep_read_fixed(sqe, file, get->mem, RECORD, get->key * RECORD,
					 (int)get->slot);
	}
	io_uring_sqe_set_data(sqe, get);
	pthread_mutex_unlock(&get->lock);
}

static bool right(const struct get *get)
{
	for (unsigned int i = 0; i < RECORD / 8 - 1; i++)
		if (get->mem->value[i] != get->key * 1000 + i)
			return false;
	return get->mem->key == get->key;
}

/* True: it is over, and *wrong counts. While the lock is held nothing is remapped, so what
 * complete says stays true. */
static bool completed(struct get *get, int res, unsigned int *wrong)
{
	int n;

	pthread_mutex_lock(&get->lock);
	n = u ? hmmu_uring_complete(u, &get->req, res) : res;
	get->plain = false;
	if (n == RECORD)
		*wrong += !right(get);
	pthread_mutex_unlock(&get->lock);
	if (n == RECORD)
		return true;
	if (n != -ESTALE) {
		fprintf(stderr, "read: %s\n", strerror(-n));
		exit(1);
	}
	prep(get);
	return false;
}

static unsigned int read_loop(void)
{
	unsigned int wrong = 0, started = 0, done = 0;
	struct io_uring_cqe *cqe;
	uint64_t state = 2;

	for (; started < DEPTH; started++) {
		gets[started].key = random_from(&state) % RECORDS;
		prep(&gets[started]);
	}
	while (done < READS) {
		need(io_uring_submit_and_wait(&ring, 1) >= 0, "submit");
		while (!io_uring_peek_cqe(&ring, &cqe)) {
			struct get *get = io_uring_cqe_get_data(cqe);
			int res = cqe->res;

			io_uring_cqe_seen(&ring, cqe);
			if (!completed(get, res, &wrong))
				continue;
			if (++done % 2)
				sem_post(&turns);
			if (started++ >= READS)
				continue;
			get->key = random_from(&state) % RECORDS;
			prep(get);
		}
	}
	return wrong;
}

static void start(bool unsafe)
{
	struct iovec iov[DEPTH];

	need(!io_uring_queue_init(DEPTH, &ring, 0), "io_uring");
	sem_init(&turns, 0, 0);
	atomic_store(&stop, false);
	for (unsigned int i = 0; i < DEPTH; i++) {
		gets[i] = (struct get){.slot = i, .lock = PTHREAD_MUTEX_INITIALIZER};
		gets[i].mem = mmap(NULL, RECORD, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		need(gets[i].mem != MAP_FAILED, "mmap");
		iov[i] = (struct iovec){gets[i].mem, RECORD};
	}
	if (unsafe)
		need(!io_uring_register_buffers(&ring, iov, DEPTH), "register");
	else
		need(!hmmu_uring_open(&u, &ring, NULL, NULL), "hmmu_uring_open");
	/* Each at least once, before the first read. */
	for (unsigned int i = 0; i < DEPTH; i++)
		remap(&gets[i]);
}

static unsigned int run(bool unsafe)
{
	struct hmmu_uring_stats s = {0};
	unsigned int wrong;
	pthread_t thread;

	start(unsafe);
	need(!pthread_create(&thread, NULL, remapper, NULL), "thread");
	wrong = read_loop();
	atomic_store(&stop, true);
	sem_post(&turns);
	pthread_join(thread, NULL);
	if (u) {
		hmmu_uring_stat(u, &s);
		need(!hmmu_uring_close(u), "hmmu_uring_close");
		u = NULL;
	}
	io_uring_queue_exit(&ring);
	for (unsigned int i = 0; i < DEPTH; i++)
		munmap(gets[i].mem, RECORD);
	printf("%-22s %u records read, %u wrong",
	       unsafe ? "registered by hand:" : "with hmmu:", READS, wrong);
	if (!unsafe)
		printf(" (%lu fixed, %lu plain, %lu stale and done again)", s.fixed, s.plain,
		       s.stale);
	printf("\n");
	return wrong;
}

static void open_file(const char *dir)
{
	static struct record record __attribute__((aligned(4096)));
	char path[512];

	snprintf(path, sizeof(path), "%s/uring_kv.%d", dir, (int)getpid());
	file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
	if (file < 0 && errno == EINVAL) {
		printf("no O_DIRECT in %s: buffered\n", dir);
		unlink(path);
		file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	need(file >= 0, path);
	unlink(path);
	for (uint64_t key = 0; key < RECORDS; key++) {
		record.key = key;
		for (unsigned int i = 0; i < RECORD / 8 - 1; i++)
			record.value[i] = key * 1000 + i;
		need(pwrite(file, &record, RECORD, (off_t)(key * RECORD)) == RECORD, "pwrite");
	}
}

int main(int argc, char **argv)
{
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
	open_file(dir);
	if (safe)
		ok = run(false) == 0;
	if (unsafe)
		ok = (run(true) > 0 || !safe) && ok;
	return ok ? 0 : 1;
}
