// SPDX-License-Identifier: MIT
/*
 * test_gale.c - as the storm, with more that meets: exclusive pages, two changers, each with
 * memory of its own, that fork children who fork, and signal handlers that change memory
 * wherever they interrupt.
 *
 *	counted		two threads and three devices count in each page
 *	others[c]	changer c's: it knows what they hold, wherever they are
 *	handled[t]	thread t's handler's: it knows what they hold
 *
 * The devices take all of it.
 */
#include "dev.h"
#include "report.h"

#define COUNTED 64
#define OTHERS 32
#define HANDLED 8
#define ARENA 96
#define CPUS 2
#define DEVS 3
#define CHANGERS 2
#define OPS 600

struct changer {
	char *place[2], *now;
	uint64_t holds[OTHERS];
	uint64_t s;
	bool raw;
};

struct handled {
	char *p;
	uint64_t holds[HANDLED];
	uint64_t s;
	uint32_t times;
};

static struct dev dev[DEVS];
static char *counted;
static uint64_t by_cpu[CPUS][COUNTED], by_dev[DEVS][COUNTED];
static struct changer changers[CHANGERS];
static struct handled handled[CPUS + CHANGERS];
static __thread struct handled *mine;
static __thread uint32_t handling;
static uint32_t stop;
static uint64_t seed = 1;

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint64_t *word(char *page, unsigned int who)
{
	return (uint64_t *)(page + 64 * (who + 1));
}

static void holds_are(const char *what, char *p, const uint64_t *holds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = *(volatile uint64_t *)(p + i * PAGE);

		if (v != holds[i])
			fprintf(stderr, "%s: page %zu holds %lx, not %lx\n", what, i, v,
				holds[i]);
		must(v == holds[i]);
	}
}

/* ---- changes ------------------------------------------------------------- */

static void change_map(char *p, size_t n, bool raw)
{
	must((raw ? raw_munmap(p, n * PAGE) : munmap(p, n * PAGE)) == 0);
	if (raw)
		raw_mmap(p, n * PAGE, RW, ANON | MAP_FIXED, -1, 0);
	else
		must(mmap(p, n * PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
}

static void change_drop(char *p, size_t n, bool raw)
{
	must((raw ? raw_madvise(p, n * PAGE, MADV_DONTNEED)
		  : madvise(p, n * PAGE, MADV_DONTNEED)) == 0);
}

static void protect(char *p, size_t n, int prot, bool raw)
{
	must((raw ? (int)hmmu_syscall(SYS_mprotect, p, n * PAGE, prot)
		  : mprotect(p, n * PAGE, prot)) == 0);
}

/* In a handler: no stdio unless it fails. */
static void handler(int number)
{
	struct handled *h = mine;
	size_t i, n;
	bool raw;

	(void)number;
	if (!h)
		return;
	i = next(&h->s) % HANDLED;
	n = 1 + next(&h->s) % (HANDLED - i);
	raw = next(&h->s) % 2;
	handling++;
	holds_are("handled", h->p, h->holds, HANDLED);
	switch (next(&h->s) % 4) {
	case 0:
		change_map(h->p + i * PAGE, n, raw);
		memset(h->holds + i, 0, n * sizeof(uint64_t));
		break;
	case 1:
		change_drop(h->p + i * PAGE, n, raw);
		memset(h->holds + i, 0, n * sizeof(uint64_t));
		break;
	case 2:
		protect(h->p + i * PAGE, n, PROT_READ, raw);
		protect(h->p + i * PAGE, n, RW, raw);
		break;
	default:
		for (; n; n--, i++)
			*(volatile uint64_t *)(h->p + i * PAGE) = h->holds[i] = next(&h->s);
	}
	h->times++;
	handling--;
}

/* That a callback or a lock of hmmu's was interrupted is no error: hmmu does not know. */
static void reported(const char *name, const void *subject)
{
	(void)subject;
	if (!handling)
		net_fail("report", 0, name);
}

/* Everything to the other place, piece by piece as it is mapped. */
static void change_place(struct changer *c)
{
	char *to = c->now == c->place[0] ? c->place[1] : c->place[0];

	for (size_t i = 0; i < OTHERS; i += 8) {
		char *from = c->now + i * PAGE, *at = to + i * PAGE;
		char *got = c->raw ? raw_mremap(from, 8 * PAGE, 8 * PAGE,
						MREMAP_MAYMOVE | MREMAP_FIXED, at)
				   : mremap(from, 8 * PAGE, 8 * PAGE,
					    MREMAP_MAYMOVE | MREMAP_FIXED, at);

		for (size_t k = 0; got != at && k < 8; k++)
			must(msync(at + k * PAGE, PAGE, MS_ASYNC) == 0 ||
			     mremap(from + k * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				    at + k * PAGE) == at + k * PAGE);
	}
	c->now = to;
}

static void change_fork(struct changer *c, int depth)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		alarm(20);
		holds_are("child", c->now, c->holds, OTHERS);
		if (depth)
			change_fork(c, depth - 1);
		_exit(0);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0)
		must(errno == EINTR);
	must(pid > 0 && status == 0);
}

static void change(struct changer *c)
{
	uint64_t *s = &c->s;
	size_t i = next(s) % OTHERS, n = 1 + next(s) % 8;
	char *p = c->now + i * PAGE;
	int prot = next(s) % 2 ? PROT_READ : PROT_NONE;

	if (i + n > OTHERS)
		n = OTHERS - i;
	c->raw = next(s) % 2;
	switch (next(s) % 40) {
	case 0 ... 1:
		change_fork(c, 1);
		break;
	case 2 ... 7:
		change_place(c);
		break;
	case 8 ... 12:
		change_map(p, n, c->raw);
		memset(c->holds + i, 0, n * sizeof(uint64_t));
		break;
	case 13 ... 18:
		change_drop(p, n, c->raw);
		memset(c->holds + i, 0, n * sizeof(uint64_t));
		break;
	case 19 ... 25:
		protect(p, n, prot, c->raw);
		if (prot)
			holds_are("read-only", p, c->holds + i, n);
		protect(p, n, RW, c->raw);
		break;
	default:
		for (int k = 0; k < 8; k++) {
			i = next(s) % OTHERS;
			*(volatile uint64_t *)(c->now + i * PAGE) = c->holds[i] = next(s);
		}
	}
	if (next(s) % 16 == 0)
		holds_are("others", c->now, c->holds, OTHERS);
}

static void run_changer(void *arg)
{
	unsigned int me = (unsigned int)(unsigned long)arg;

	mine = &handled[CPUS + me];
	for (int k = 0; k < OPS; k++)
		change(&changers[me]);
	mine = NULL;
}

/* Its pages leave, and come home, all the same. */
static void lock_some(uint64_t *s)
{
	size_t i = next(s) % COUNTED, n = 1 + next(s) % (COUNTED - i);

	switch (next(s) % 3) {
	case 0:
		must(mlock(counted + i * PAGE, n * PAGE) == 0);
		break;
	case 1:
		must(mlock2(counted + i * PAGE, n * PAGE, MLOCK_ONFAULT) == 0);
		break;
	default:
		must(munlock(counted + i * PAGE, n * PAGE) == 0);
	}
}

static void cpu(void *arg)
{
	unsigned int me = (unsigned int)(unsigned long)arg;
	uint64_t s = seed * 77 + me + 1;

	mine = &handled[me];
	while (!hmmu_load_seqcst(&stop)) {
		size_t i = next(&s) % COUNTED;

		++*(volatile uint64_t *)word(counted + i * PAGE, me);
		by_cpu[me][i]++;
		if (next(&s) % 256 == 0)
			lock_some(&s);
		if (next(&s) % 8 == 0)
			usleep(20); /* pages are to be away at times */
	}
	mine = NULL;
}

/* ---- devices ------------------------------------------------------------ */

static void count_on(unsigned int me)
{
	struct dev *d = &dev[me];

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < COUNTED; i++) {
		if (!d->table[i])
			continue;
		++*(volatile uint64_t *)word((char *)d->table[i], CPUS + me);
		by_dev[me][i]++;
	}
	pthread_mutex_unlock(&d->lock);
}

/* What make_device_exclusive_range() does; the table learns before finalize. */
static void migrate(struct dev *d, char *p, size_t pages, bool out, bool alone)
{
	struct trip *t =
		trip_new(d, p, pages,
			 out ? MIGRATE_VMA_SELECT_SYSTEM : MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	int ret = dm_migrate_setup(&t->args, out && alone);

	must(ret == 0 || ret == -EAGAIN);
	if (ret) {
		raw_munmap(t, sizeof(*t));
		return;
	}
	trip_alloc(t);
	if (!out)
		trip_leave(t);
	trip_pages(t);
	trip_finalize(t);
}

static char *somewhere(uint64_t *s, size_t *room)
{
	uint64_t what = next(s) % 6;

	if (what < 2) {
		*room = OTHERS;
		return changers[next(s) % CHANGERS].place[next(s) % 2];
	}
	if (what == 2) {
		*room = HANDLED;
		return handled[next(s) % (CPUS + CHANGERS)].p;
	}
	*room = COUNTED;
	return counted;
}

static void device(void *arg)
{
	unsigned int me = (unsigned int)(unsigned long)arg;
	uint64_t s = seed * 99 + me + 1;

	while (!hmmu_load_seqcst(&stop)) {
		size_t room, first, n;
		char *base = somewhere(&s, &room);

		first = next(&s) % room;
		n = 1 + next(&s) % (room - first);
		migrate(&dev[me], base + first * PAGE, n < 24 ? n : 24, next(&s) % 3 != 0,
			next(&s) % 3 == 0);
		count_on(me);
		count_on(me);
	}
}

/* ---- all ------------------------------------------------------------------ */

static void sum_is(size_t i, unsigned int who, uint64_t want)
{
	uint64_t v = *word(counted + i * PAGE, who);

	if (v != want)
		fprintf(stderr, "page %zu: %u has counted %lu, not %lu\n", i, who, v, want);
	must(v == want);
}

static void check_all(void)
{
	for (size_t i = 0; i < COUNTED; i++) {
		for (unsigned int k = 0; k < CPUS; k++)
			sum_is(i, k, by_cpu[k][i]);
		for (unsigned int k = 0; k < DEVS; k++)
			sum_is(i, CPUS + k, by_dev[k][i]);
	}
	for (int k = 0; k < CHANGERS; k++)
		holds_are("others", changers[k].now, changers[k].holds, OTHERS);
	for (int k = 0; k < CPUS + CHANGERS; k++)
		holds_are("handled", handled[k].p, handled[k].holds, HANDLED);
}

static char *map(size_t page, size_t pages)
{
	return raw_mmap(net_place(page), pages * PAGE, RW, ANON | MAP_FIXED, -1, 0);
}

static void map_all(void)
{
	counted = map(1024, COUNTED);
	for (size_t k = 0; k < CHANGERS; k++) {
		struct changer *c = &changers[k];

		c->now = c->place[0] = map(4096 + k * 256, OTHERS);
		c->place[1] = net_place(8192 + k * 256);
		c->s = seed * 31 + 7 + k;
	}
	for (size_t k = 0; k < CPUS + CHANGERS; k++) {
		handled[k].p = map(16384 + k * 64, HANDLED);
		handled[k].s = seed * 13 + 5 + k;
	}
}

static void close_all(void)
{
	for (unsigned int k = 0; k < DEVS; k++) {
		struct hmmu_devmem_stats st = dev_stat(&dev[k]);

		printf("device %u: out %lu back %lu touched %lu brought %lu dropped %lu "
		       "refused %lu\n",
		       k, st.moved_out, st.moved_back, st.touched, st.brought, st.dropped,
		       st.refused);
		must(st.moved_out && st.touched && st.brought && st.moved_back);
		must(dev[k].why[MMU_NOTIFY_EXCLUSIVE]);
		dev_check(&dev[k]);
		dev_close(&dev[k]);
	}
}

static void gale(void)
{
	struct mm_struct *mm = net_open(BOTH);
	struct sigaction act = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct runner r[CPUS + CHANGERS], d[DEVS];
	bool busy = true;

	map_all();
	hmmu_report_hook = reported;
	must(sigaction(SIGUSR1, &act, NULL) == 0);
	for (unsigned int k = 0; k < DEVS; k++) {
		dev_open(&dev[k], mm, ARENA, &dev[k]);
		dev_table(&dev[k], counted, COUNTED);
	}
	for (unsigned long k = 0; k < CPUS; k++)
		runner_start(&r[k], cpu, (void *)k);
	for (unsigned long k = 0; k < CHANGERS; k++)
		runner_start(&r[CPUS + k], run_changer, (void *)k);
	for (unsigned long k = 0; k < DEVS; k++)
		runner_start(&d[k], device, (void *)k);
	while (busy) {
		busy = false;
		for (int k = 0; k < CPUS + CHANGERS; k++)
			pthread_kill(r[k].thread, SIGUSR1);
		for (int k = 0; k < CHANGERS; k++)
			busy |= !runner_done(&r[CPUS + k]);
		usleep(500);
	}
	hmmu_store_seqcst(&stop, 1);
	for (int k = 0; k < CPUS + CHANGERS; k++)
		runner_join(&r[k]);
	for (int k = 0; k < DEVS; k++)
		runner_join(&d[k]);
	for (int k = 0; k < CPUS + CHANGERS; k++)
		must(handled[k].times);
	check_all();
	close_all();
	check_all();
	net_close(mm);
}

static void everything_at_once(void **state)
{
	(void)state;
	net_isolated(gale, 60);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_at_once),
	};

	dev_init(1, argv);
	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	printf("seed %lu\n", seed);
	return cmocka_run_group_tests_name("devmem-gale", tests, NULL, NULL);
}
