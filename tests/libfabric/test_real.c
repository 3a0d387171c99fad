// SPDX-License-Identifier: MIT
/*
 * test_real.c - the libfabric that is installed: import, initialisation, a domain of a provider
 * without hardware, registrations in all three forms, and real munmap().
 *
 * Such providers have no cache, so the monitor is imported and never started; test_cache.c
 * plays the cache.
 */
#include "../api/api.h"

#include <sys/mman.h>

#include <hmmu/libfabric.h>

#include "monitor.h"

#define PAGES 4

static struct mm_struct *mm;
static struct fi_info *info;
static struct fid_fabric *fabric;
static struct fid_domain *domain;

static char *pages(void)
{
	char *p = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	must(p != MAP_FAILED);
	memset(p, 1, PAGES * PAGE);
	return p;
}

static struct hmmu_fi_stats stats(void)
{
	struct hmmu_fi_stats st = {.size = sizeof(st)};

	must(hmmu_fi_stat(&st) == 0);
	return st;
}

/* The order of the tests is the program's. */
static void test_import(void **state)
{
	struct hmmu_mm_options o = {
		.size = sizeof(o), .sources = HMMU_SOURCE_HOOKS, .flags = HMMU_MM_OWN_RECLAIM};

	assert_int_equal(hmmu_mm_open(&mm, &o), 0);
	assert_int_equal(quiet(hmmu_fi_import(mm, NULL)), 0);
	assert_non_null(fi_monitor.import_ops);
	assert_non_null(fi_monitor.import_ops->notify);
	assert_int_equal(quiet(hmmu_fi_import(mm, NULL)), -EBUSY);
	/* and libfabric knows itself that there is one */
	assert_int_equal(
		fi_import(FI_VERSION(1, 13), "mr_cache", NULL, 0, 0, &fi_monitor.fid, NULL),
		-FI_EBUSY);
}

/* A change of a watched range before fi_getinfo(): 1.17's notify would crash here. */
static void test_change_before_getinfo(void **state)
{
	char *p = pages();

	assert_true(fi_monitor.export_ops->subscribe(&fi_monitor, p, PAGES * PAGE) != 0);
	assert_int_equal(stats().watched, 1);
	munmap(p, PAGES * PAGE);
	assert_false(fi_monitor.export_ops->valid(&fi_monitor, p, PAGES * PAGE));
	assert_int_equal(hmmu_reclaim(mm), 1);
	assert_int_equal(stats().watched, 0);
	assert_int_equal(stats().notified, 0);
}

static int try_provider(const char *name)
{
	struct fi_info *hints = fi_allocinfo();
	int ret;

	must(hints != NULL);
	hints->fabric_attr->prov_name = strdup(name);
	hints->ep_attr->type = FI_EP_UNSPEC;
	hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_PROV_KEY |
				      FI_MR_VIRT_ADDR | FI_MR_ENDPOINT | FI_MR_RAW;
	ret = fi_getinfo(FI_VERSION(1, 13), NULL, NULL, 0, hints, &info);
	fi_freeinfo(hints);
	if (ret)
		return ret;
	ret = fi_fabric(info->fabric_attr, &fabric, NULL);
	if (!ret)
		ret = fi_domain(fabric, info, &domain, NULL);
	if (ret)
		print_message("%s: %s\n", name, fi_strerror(-ret));
	else
		print_message("provider: %s, libfabric %d.%d\n", info->fabric_attr->prov_name,
			      (int)FI_MAJOR(fi_version()), (int)FI_MINOR(fi_version()));
	return ret;
}

static void test_domain(void **state)
{
	static const char *const names[] = {"tcp", "sockets", "shm", "udp", "udp;ofi_rxd"};
	size_t i = 0;

	while (i < 5 && try_provider(names[i]))
		i++;
	assert_true(i < 5);
	assert_int_equal(stats().running, 0);
}

/* The three forms: what comes back is what the provider gives without us, plus an answer. */
static void test_forms(void **state)
{
	struct hmmu_fi_mr *mr[3];
	char *p = pages();
	struct iovec iov = {p + PAGE, PAGE};
	struct fi_mr_attr attr = {.mr_iov = &iov,
				  .iov_count = 1,
				  .access = FI_SEND | FI_RECV,
				  .requested_key = 3};

	assert_int_equal(quiet(hmmu_fi_mr_reg(mm, domain, p, PAGE, FI_SEND | FI_RECV, 0, 1, 0,
					      &mr[0], &p)),
			 0);
	assert_int_equal(quiet(hmmu_fi_mr_regv(mm, domain, &iov, 1, FI_SEND | FI_RECV, 0, 2, 0,
					       &mr[1], NULL)),
			 0);
	assert_int_equal(quiet(hmmu_fi_mr_regattr(mm, domain, &attr, 0, NULL, &mr[2])), 0);
	assert_ptr_equal(hmmu_fi_mr_fid(mr[0])->fid.context, &p);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(hmmu_fi_mr_fid(mr[i])->fid.fclass, FI_CLASS_MR);
		assert_true(fi_mr_key(hmmu_fi_mr_fid(mr[i])) != FI_KEY_NOTAVAIL);
		assert_true(hmmu_fi_mr_valid(mr[i]));
	}
	munmap(p + PAGE, PAGE);
	assert_true(hmmu_fi_mr_valid(mr[0]));
	assert_false(hmmu_fi_mr_valid(mr[1]));
	assert_false(hmmu_fi_mr_valid(mr[2]));
	mprotect(p, PAGE, PROT_READ);
	assert_false(hmmu_fi_mr_valid(mr[0]));
	for (int i = 0; i < 3; i++)
		assert_int_equal(quiet(hmmu_fi_mr_close(mr[i])), 0);
	munmap(p, PAGES * PAGE);
}

/* The provider's own answer to a bad request comes through, and nothing is left. */
static void test_provider_refuses(void **state)
{
	struct hmmu_fi_mr *mr;
	char *p = pages();
	int ret;

	ret = quiet(hmmu_fi_mr_reg(mm, domain, p + PAGE, 2 * PAGE, FI_SEND, 0, 0, ~0ULL, &mr,
				   NULL));
	if (!ret) /* a provider that looks at no flag */
		assert_int_equal(hmmu_fi_mr_close(mr), 0);
	munmap(p, PAGES * PAGE);
	assert_int_equal(
		quiet(hmmu_fi_mr_reg(mm, domain, p, PAGE, FI_SEND, 0, 0, 0, &mr, NULL)),
		-EFAULT);
}

static struct fi_ops_mr *theirs;
static int calls, closes;
static char *target;
static int (*their_close)(struct fid *fid);

static int counting_close(struct fid *fid)
{
	closes++;
	return their_close(fid);
}

static int remapping_reg(struct fid *fid, const void *buf, size_t len, uint64_t access,
			 uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr,
			 void *context)
{
	static struct fi_ops counting;
	int ret = theirs->reg(fid, buf, len, access, offset, key, flags, mr, context);

	must(ret == 0);
	counting = *(*mr)->fid.ops;
	their_close = counting.close;
	counting.close = counting_close;
	(*mr)->fid.ops = &counting;
	if (calls++ < 2) {
		must(munmap(target, PAGE) == 0);
		must(mmap(target, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == target);
	}
	return ret;
}

/* Remapped twice inside the provider's registration: the third is the one that is given. */
static void test_remap_inside_the_registration(void **state)
{
	struct fi_ops_mr mine;
	struct hmmu_fi_mr *mr;
	char *p = pages();

	theirs = domain->mr;
	mine = *theirs;
	mine.reg = remapping_reg;
	domain->mr = &mine;
	target = p + PAGE;
	assert_int_equal(
		quiet(hmmu_fi_mr_reg(mm, domain, p, PAGES * PAGE, FI_SEND, 0, 9, 0, &mr, NULL)),
		0);
	domain->mr = theirs;
	assert_int_equal(calls, 3);
	assert_int_equal(closes, 2);
	assert_int_equal(stats().collisions, 2);
	assert_true(hmmu_fi_mr_valid(mr));
	assert_int_equal(hmmu_fi_mr_close(mr), 0);
	assert_int_equal(closes, 3);
	munmap(p, PAGES * PAGE);
}

static void test_close(void **state)
{
	assert_int_equal(fi_close(&domain->fid), 0);
	assert_int_equal(fi_close(&fabric->fid), 0);
	fi_freeinfo(info);
	assert_int_equal(quiet(hmmu_fi_close()), 0);
	/* libfabric lets go of it, and takes it again after its initialisation as well */
	assert_int_equal(quiet(hmmu_fi_import(mm, NULL)), 0);
	assert_int_equal(quiet(hmmu_fi_close()), 0);
	assert_int_equal(hmmu_mm_close(mm), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_import),
		cmocka_unit_test(test_change_before_getinfo),
		cmocka_unit_test(test_domain),
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_provider_refuses),
		cmocka_unit_test(test_remap_inside_the_registration),
		cmocka_unit_test(test_close),
	};

	api_guard(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
