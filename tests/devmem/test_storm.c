// SPDX-License-Identifier: MIT
/*
 * test_storm.c - everything at once, and nothing is lost.
 *
 * Counted pages: three threads and two devices count in each, every one in a word of its own,
 * the devices through their tables. Meanwhile the devices take random runs of it out and bring
 * them home. Other pages belong to a thread that changes them in every way, through libc and
 * raw, and knows what each holds; the devices migrate those, too, wherever they are.
 */
#include "dev.h"

#include <sys/syscall.h>

#define COUNTED 96
#define OTHERS 64
#define ARENA 192
#define CPUS 3
#define DEVS 2
#define OPS 1500

static struct dev dev[DEVS];
static char *counted, *place[2]; /* the others are in one of the places */
static uint64_t by_cpu[CPUS][COUNTED], by_dev[DEVS][COUNTED];
static uint64_t holds[OTHERS]; /* what the others hold: the changer's */
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

static void cpu(void *arg)
{
	unsigned int me = (unsigned int)(unsigned long)arg;
	uint64_t s = seed * 77 + me + 1;

	while (!hmmu_load_seqcst(&stop)) {
		size_t i = next(&s) % COUNTED;

		++*(volatile uint64_t *)word(counted + i * PAGE, me);
		by_cpu[me][i]++;
		if (next(&s) % 8 == 0)
			usleep(20); /* pages are to be away at times */
	}
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

static void migrate(struct dev *d, char *p, size_t pages, bool out)
{
	struct trip *t =
		trip_new(d, p, pages,
			 out ? MIGRATE_VMA_SELECT_SYSTEM : MIGRATE_VMA_SELECT_DEVICE_PRIVATE);
	int ret = migrate_vma_setup(&t->args);

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

static void device(void *arg)
{
	unsigned int me = (unsigned int)(unsigned long)arg;
	uint64_t s = seed * 99 + me + 1;

	while (!hmmu_load_seqcst(&stop)) {
		bool others = next(&s) % 3 == 0;
		size_t room = others ? OTHERS : COUNTED, first = next(&s) % room;
		size_t n = 1 + next(&s) % (room - first);
		char *base = others ? place[next(&s) % 2] : counted;

		migrate(&dev[me], base + first * PAGE, n < 24 ? n : 24, next(&s) % 3 != 0);
		count_on(me);
		count_on(me);
	}
}

/* ---- changes ------------------------------------------------------------- */

static char *now; /* where the others are */
static bool raw;

static void check_all(void)
{
	for (size_t i = 0; i < OTHERS; i++) {
		uint64_t v = *(volatile uint64_t *)(now + i * PAGE);

		if (v != holds[i])
			fprintf(stderr, "page %zu holds %lx, not %lx\n", i, v, holds[i]);
		must(v == holds[i]);
	}
}

static void change_map(size_t i, size_t n)
{
	char *p = now + i * PAGE;

	if (raw)
		must(raw_munmap(p, n * PAGE) == 0);
	else
		must(munmap(p, n * PAGE) == 0);
	if (raw)
		raw_mmap(p, n * PAGE, RW, ANON | MAP_FIXED, -1, 0);
	else
		must(mmap(p, n * PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
	memset(holds + i, 0, n * sizeof(holds[0]));
}

static void change_drop(size_t i, size_t n)
{
	char *p = now + i * PAGE;

	must((raw ? raw_madvise(p, n * PAGE, MADV_DONTNEED)
		  : madvise(p, n * PAGE, MADV_DONTNEED)) == 0);
	memset(holds + i, 0, n * sizeof(holds[0]));
}

static void protect(char *p, size_t n, int prot)
{
	must((raw ? (int)hmmu_syscall(SYS_mprotect, p, n * PAGE, prot)
		  : mprotect(p, n * PAGE, prot)) == 0);
}

static void change_protection(size_t i, size_t n, int prot)
{
	char *p = now + i * PAGE;

	protect(p, n, prot);
	for (size_t k = 0; k < n && prot; k++)
		must(*(volatile uint64_t *)(p + k * PAGE) == holds[i + k]);
	protect(p, n, RW);
}

/* Everything to the other place, piece by piece as it is mapped. */
static void change_place(void)
{
	char *to = now == place[0] ? place[1] : place[0];

	for (size_t i = 0; i < OTHERS; i += 8) {
		char *from = now + i * PAGE, *at = to + i * PAGE;
		char *got = raw ? raw_mremap(from, 8 * PAGE, 8 * PAGE,
					     MREMAP_MAYMOVE | MREMAP_FIXED, at)
				: mremap(from, 8 * PAGE, 8 * PAGE,
					 MREMAP_MAYMOVE | MREMAP_FIXED, at);

		/* Of several mappings: none, or the first of them (Linux 6.17) has moved. */
		for (size_t k = 0; got != at && k < 8; k++)
			must(msync(at + k * PAGE, PAGE, MS_ASYNC) == 0 ||
			     mremap(from + k * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				    at + k * PAGE) == at + k * PAGE);
	}
	now = to;
}

static void change_fork(void)
{
	pid_t pid = fork();
	int status = -1;

	if (!pid) {
		alarm(10);
		check_all();
		_exit(0);
	}
	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void write_some(uint64_t *s)
{
	for (int k = 0; k < 8; k++) {
		size_t i = next(s) % OTHERS;

		*(volatile uint64_t *)(now + i * PAGE) = holds[i] = next(s);
	}
}

static void changer(uint64_t *s)
{
	size_t i = next(s) % OTHERS, n = 1 + next(s) % 8;

	if (i + n > OTHERS)
		n = OTHERS - i;
	raw = next(s) % 2;
	switch (next(s) % 40) {
	case 0:
		change_fork();
		break;
	case 1 ... 6:
		change_place();
		break;
	case 7 ... 12:
		change_map(i, n);
		break;
	case 13 ... 18:
		change_drop(i, n);
		break;
	case 19 ... 24:
		change_protection(i, n, PROT_READ);
		break;
	case 25 ... 28:
		change_protection(i, n, PROT_NONE);
		break;
	default:
		write_some(s);
	}
	if (next(s) % 16 == 0)
		check_all();
}

/* ---- all ------------------------------------------------------------------ */

static void sum_is(size_t i, unsigned int who, uint64_t want)
{
	uint64_t v = *word(counted + i * PAGE, who);

	if (v != want)
		fprintf(stderr, "page %zu: %u has counted %lu, not %lu\n", i, who, v, want);
	must(v == want);
}

static void sums(void)
{
	for (size_t i = 0; i < COUNTED; i++) {
		for (unsigned int k = 0; k < CPUS; k++)
			sum_is(i, k, by_cpu[k][i]);
		for (unsigned int k = 0; k < DEVS; k++)
			sum_is(i, CPUS + k, by_dev[k][i]);
	}
}

static void storm(void)
{
	struct mm_struct *mm = net_open(BOTH);
	struct runner r[CPUS + DEVS];
	uint64_t s = seed * 31 + 7;

	counted = raw_mmap(net_place(1024), COUNTED * PAGE, RW, ANON | MAP_FIXED, -1, 0);
	place[0] = raw_mmap(net_place(4096), OTHERS * PAGE, RW, ANON | MAP_FIXED, -1, 0);
	place[1] = net_place(8192);
	now = place[0];
	for (unsigned int k = 0; k < DEVS; k++) {
		dev_open(&dev[k], mm, ARENA, &dev[k]);
		dev_table(&dev[k], counted, COUNTED);
	}
	for (unsigned long k = 0; k < CPUS; k++)
		runner_start(&r[k], cpu, (void *)k);
	for (unsigned long k = 0; k < DEVS; k++)
		runner_start(&r[CPUS + k], device, (void *)k);
	for (int k = 0; k < OPS; k++)
		changer(&s);
	hmmu_store_seqcst(&stop, 1);
	for (int k = 0; k < CPUS + DEVS; k++)
		runner_join(&r[k]);
	check_all();
	sums();
	for (unsigned int k = 0; k < DEVS; k++) {
		struct hmmu_devmem_stats st = dev_stat(&dev[k]);

		printf("device %u: out %lu back %lu touched %lu brought %lu dropped %lu "
		       "refused %lu\n",
		       k, st.moved_out, st.moved_back, st.touched, st.brought, st.dropped,
		       st.refused);
		must(st.moved_out && st.touched && st.brought && st.moved_back);
		dev_check(&dev[k]);
		dev_close(&dev[k]);
	}
	check_all();
	sums();
	net_close(mm);
}

static void everything_at_once(void **state)
{
	(void)state;
	net_isolated(storm, 60);
	seed++;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] =
		{
			cmocka_unit_test(everything_at_once),
			cmocka_unit_test(everything_at_once),
			cmocka_unit_test(everything_at_once),
			cmocka_unit_test(everything_at_once),
			cmocka_unit_test(everything_at_once),
			cmocka_unit_test(everything_at_once),
		},
				one[] = {
					cmocka_unit_test(everything_at_once),
				};

	dev_init(1, argv);
	if (argc > 1)
		seed = strtoull(argv[1], NULL, 0);
	printf("seed %lu\n", seed);
	/* A planted bug has six chances. */
	return getenv("HMMU_DEVMEM_PLANT")
		       ? cmocka_run_group_tests_name("devmem-storm-planted", tests, NULL, NULL)
		       : cmocka_run_group_tests_name("devmem-storm", one, NULL, NULL);
}
