// SPDX-License-Identifier: MIT
/*
 * start.c - a cache of registrations in a program of one's own: docs/start.md. The device is a
 * ring of io_uring, a registration is a slot of its table. Writes a page to a file three times,
 * each time from new memory at the old address: ABC, where a stale slot would give AAA.
 */
#include <hmmu/regcache.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct io_uring ring;
static unsigned int next; /* slot: there are enough for this program */

static int fill(unsigned int slot, void *p, size_t len)
{
	struct iovec iov = {p, len};
	int ret = io_uring_register_buffers_update_tag(&ring, slot, &iov, NULL, 1);

	return ret < 0 ? ret : 0;
}

static int reg(void *device, struct hmmu_region *region)
{
	region->key[0] = next++;
	return fill(region->key[0], (void *)region->start, region->end - region->start);
}

static int dereg(void *device, struct hmmu_region *region)
{
	return fill(region->key[0], NULL, 0);
}

static int write_page(struct hmmu_regcache *cache, int fd, char *p, unsigned long at)
{
	struct hmmu_region_ref ref;
	bool good;
	int ret;

	do {
		ret = hmmu_regcache_get(cache, p, 4096, PROT_READ, &ref);
		if (ret)
			return ret;
		io_uring_prep_write_fixed(io_uring_get_sqe(&ring), fd, p, 4096, at,
					  ref.region->key[0]);
		io_uring_submit_and_wait(&ring, 1);
		io_uring_cq_advance(&ring, 1);
		good = hmmu_regcache_valid(cache, &ref); /* false: it changed on the way */
		hmmu_regcache_put(cache, &ref);
	} while (!good);
	return 0;
}

int main(void)
{
	static const struct hmmu_regcache_ops ops = {.reg = reg, .dereg = dereg};
	struct hmmu_regcache *cache;
	int fd = fileno(tmpfile()), ret;
	char *p = NULL, text[4] = "";

	if (io_uring_queue_init(4, &ring, 0) || io_uring_register_buffers_sparse(&ring, 64))
		return 77;
	ret = hmmu_regcache_create(&cache, &ops, NULL, NULL);
	if (ret) {
		fprintf(stderr, "hmmu_regcache_create: %s\n", strerror(-ret));
		return 77;
	}
	for (int i = 0; i < 3; i++) {
		p = mmap(p, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | (p ? MAP_FIXED : 0), -1, 0);
		memset(p, 'A' + i, 4096);
		ret = write_page(cache, fd, p, i * 4096UL);
		if (ret) {
			fprintf(stderr, "hmmu_regcache_get: %s\n", strerror(-ret));
			return 1;
		}
		munmap(p, 4096); /* as free() does */
		if (pread(fd, &text[i], 1, i * 4096L) != 1)
			return 1;
	}
	printf("%s\n", text);
	return hmmu_regcache_destroy(cache) || strcmp(text, "ABC");
}
