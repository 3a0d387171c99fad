// SPDX-License-Identifier: MIT
/*
 * standin.c - the cache that calls an imported monitor (standin.h).
 *
 * Locks as there: mm_lock, plain and not recursive (util_mem_monitor.c:46);
 * mm_list_rwlock outside it (48, 789-793); mm_state_lock around start and stop (47, 119).
 */
#include "../api/api.h"

#include "standin.h"

struct entry {
	struct fid_mr mr; /* the first, as a provider's descriptor */
	struct cache *cache;
	struct entry *next; /* of the tree */
	uintptr_t addr;
	size_t len;
	unsigned int use;
	bool in_tree, hit;
	unsigned long pinned;
};

struct cache {
	struct fid_domain domain; /* the first */
	struct fi_ops ops;
	struct fi_ops_mr mr_ops;
	struct fi_ops entry_ops;
	struct cache *next; /* of the monitor's list */
	struct entry *tree;
	unsigned int cached;
};

struct standin_hooks standin_hooks;
int standin_version = 117;
bool standin_too_old;

static pthread_mutex_t mm_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mm_state_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t mm_list_rwlock = PTHREAD_RWLOCK_INITIALIZER;
static _Thread_local bool holds_mm_lock;

static struct fid_mem_monitor *imported;
static struct cache *caches;
static bool initialised;
static atomic_uint notified, unsubscribed;

void standin_lock(void)
{
	must(!holds_mm_lock); /* here libfabric would hang */
	pthread_mutex_lock(&mm_lock);
	holds_mm_lock = true;
}

void standin_unlock(void)
{
	holds_mm_lock = false;
	pthread_mutex_unlock(&mm_lock);
}

static void run_hook(void (**hook)(void *))
{
	void (*fn)(void *) = *hook;

	if (!fn)
		return;
	*hook = NULL;
	fn(standin_hooks.arg);
}

/* util_mr_cache.c:115-129; 2.1: 125-142 unsubscribes, whoever called it. */
static void uncache_storage(struct entry *e)
{
	struct entry **p = &e->cache->tree;

	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	e->in_tree = false;
	e->cache->cached--;
	if (standin_version >= 210) {
		unsubscribed++;
		imported->export_ops->unsubscribe(imported, (void *)e->addr, e->len);
	}
}

static void free_entry(struct entry *e)
{
	free(e);
}

/* util_mr_cache.c:131-143: one that is in use lives until it is closed. (The dead list,
 * emptied by the next search, 340-342, is not modelled: they are freed at once, which is
 * the harder case.) */
static void uncache(struct entry *e)
{
	uncache_storage(e);
	if (!e->use)
		free_entry(e);
}

static bool overlap(const struct entry *e, uintptr_t addr, size_t len)
{
	return e->addr <= addr + len - 1 && addr <= e->addr + e->len - 1;
}

static struct entry *find_overlap(struct cache *c, uintptr_t addr, size_t len)
{
	struct entry *e = c->tree;

	while (e && !overlap(e, addr, len))
		e = e->next;
	return e;
}

/* util_mem_monitor.c:785-794, 408-417 and util_mr_cache.c:171-183. The list head is
 * only set up by initialisation (159-162, 182): before that 1.17 follows a NULL. */
static void notify(struct fid_mem_monitor *monitor, const void *addr, size_t len)
{
	struct entry *e;

	must(initialised);
	must(monitor == imported);
	pthread_rwlock_rdlock(&mm_list_rwlock);
	standin_lock();
	notified++;
	for (struct cache *c = caches; c; c = c->next) {
		while ((e = find_overlap(c, (uintptr_t)addr, len)))
			uncache(e);
	}
	standin_unlock();
	pthread_rwlock_unlock(&mm_list_rwlock);
}

static struct fi_ops_mem_notify notify_ops = {sizeof(notify_ops), notify};

/* util_mem_monitor.c:796-800 */
static int close_import(struct fid *fid)
{
	must(&imported->fid == fid);
	imported = NULL;
	return 0;
}

static struct fi_ops import_ops = {.size = sizeof(import_ops), .close = close_import};

/* util_mr_cache.c:529-536 and util_mem_monitor.c:817-849 */
static int bind_cache(struct fid *fid, struct fid *bfid, uint64_t flags)
{
	struct fid_mem_monitor *m = (struct fid_mem_monitor *)bfid;

	if (flags || bfid->fclass != FI_CLASS_MEM_MONITOR)
		return -FI_EINVAL;
	if (imported)
		return -FI_EBUSY;
	if (m->export_ops->size < sizeof(struct fi_ops_mem_monitor))
		return -FI_EINVAL;
	must(m->export_ops->start && m->export_ops->stop && m->export_ops->subscribe);
	must(m->export_ops->unsubscribe && m->export_ops->valid);
	m->fid.ops = &import_ops;
	m->import_ops = &notify_ops;
	imported = m;
	return 0;
}

static int close_cache_fid(struct fid *fid)
{
	free(fid);
	return 0;
}

static struct fi_ops cache_ops = {
	.size = sizeof(cache_ops), .close = close_cache_fid, .bind = bind_cache};

/* src/fabric.c:1449-1461 and util_mr_cache.c:548-568 */
int fi_open(uint32_t version, const char *name, void *attr, size_t attr_len, uint64_t flags,
	    struct fid **fid, void *context)
{
	if (standin_too_old || strcmp(name, "mr_cache"))
		return -FI_ENOSYS;
	if (FI_VERSION_LT(version, FI_VERSION(1, 13)) || attr_len)
		return -FI_EINVAL;
	*fid = calloc(1, sizeof(**fid));
	must(*fid != NULL);
	(*fid)->ops = &cache_ops;
	return 0;
}

/* A provider's add_region: reads the translations. */
static int add_region(struct entry *e)
{
	int ret = standin_hooks.fail;

	if (ret)
		standin_hooks.fail = 0;
	else
		e->pinned = *(volatile unsigned long *)e->addr;
	e->len += standin_hooks.expand;
	run_hook(&standin_hooks.pinned);
	return ret;
}

static int close_mr(struct fid *fid);

/* util_mr_cache.c:256-317: registered without the lock, found out about with it. */
static int create(struct cache *c, uintptr_t addr, size_t len, struct entry **ret_entry)
{
	struct entry *e = calloc(1, sizeof(*e));
	int ret;

	must(e != NULL);
	e->mr.fid.fclass = FI_CLASS_MR;
	e->mr.fid.ops = &c->entry_ops;
	e->cache = c;
	e->addr = addr;
	e->len = len;
	e->use = 1;
	ret = add_region(e);
	if (ret) {
		free_entry(e);
		return ret;
	}
	len = e->len;
	standin_lock();
	if (find_overlap(c, addr, len)) { /* 282-286; theirs allows an overlap */
		standin_unlock();
		free_entry(e);
		return -FI_EAGAIN;
	}
	run_hook(&standin_hooks.locked); /* 292 -> src/tree.c:58: malloc */
	e->next = c->tree;
	c->tree = e;
	e->in_tree = true;
	c->cached++;
	if (imported->export_ops->subscribe(imported, (void *)addr, len)) /* 300-307 */
		uncache_storage(e);
	standin_unlock();
	run_hook(&standin_hooks.subscribed);
	*ret_entry = e;
	return 0;
}

/* util_mr_cache.c:337-375 */
static int search(struct cache *c, uintptr_t addr, size_t len, struct entry **ret_entry)
{
	struct entry *e;
	int ret;

	do {
		standin_lock();
		e = find_overlap(c, addr, len);
		/* 349-352: valid is asked for the entry's range, under the lock */
		if (e && e->addr <= addr && addr + len <= e->addr + e->len &&
		    imported->export_ops->valid(imported, (void *)e->addr, e->len)) {
			e->use++;
			e->hit = true;
			standin_unlock();
			*ret_entry = e;
			return 0;
		}
		for (; e; e = find_overlap(c, addr, len)) /* 355-358 */
			uncache(e);
		standin_unlock();
		ret = create(c, addr, len, ret_entry);
	} while (ret == -FI_EAGAIN);
	return ret;
}

/* util_mr_cache.c:225-244 */
static int close_mr(struct fid *fid)
{
	struct entry *e = (struct entry *)fid;
	bool gone;

	standin_lock();
	gone = --e->use == 0 && !e->in_tree;
	standin_unlock();
	if (gone)
		free_entry(e);
	return 0;
}

/* prov/verbs/src/verbs_mr.c:312-389: all three forms end in the search, with one iov. */
static int regv(struct fid *fid, const struct iovec *iov, size_t count, uint64_t access,
		uint64_t offset, uint64_t key, uint64_t flags, struct fid_mr **mr,
		void *context)
{
	struct entry *e;
	int ret;

	if (count > 1)
		return -FI_EINVAL;
	ret = search((struct cache *)fid, (uintptr_t)iov->iov_base, iov->iov_len, &e);
	if (!ret)
		*mr = &e->mr;
	return ret;
}

static int reg(struct fid *fid, const void *buf, size_t len, uint64_t access, uint64_t offset,
	       uint64_t key, uint64_t flags, struct fid_mr **mr, void *context)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len};

	return regv(fid, &iov, 1, access, offset, key, flags, mr, context);
}

static int regattr(struct fid *fid, const struct fi_mr_attr *a, uint64_t flags,
		   struct fid_mr **mr)
{
	return regv(fid, a->mr_iov, a->iov_count, a->access, a->offset, a->requested_key, flags,
		    mr, a->context);
}

void standin_reset(void)
{
	must(!caches);
	imported = NULL;
	initialised = false;
	notified = unsubscribed = 0;
	memset(&standin_hooks, 0, sizeof(standin_hooks));
}

void standin_initialise(void)
{
	initialised = true;
}

/* util_mem_monitor.c:285-352, 111-150 */
struct fid_domain *standin_domain_open(void)
{
	struct cache *c = calloc(1, sizeof(*c));
	bool first;

	must(c != NULL && initialised);
	c->mr_ops = (struct fi_ops_mr){sizeof(c->mr_ops), reg, regv, regattr};
	c->entry_ops = (struct fi_ops){.size = sizeof(c->entry_ops), .close = close_mr};
	c->domain.fid.fclass = FI_CLASS_DOMAIN;
	c->domain.mr = &c->mr_ops;
	pthread_rwlock_wrlock(&mm_list_rwlock);
	first = !caches;
	c->next = caches;
	caches = c;
	pthread_rwlock_unlock(&mm_list_rwlock);
	if (first) {
		int ret = -FI_ENOSYS;

		pthread_mutex_lock(&mm_state_lock);
		if (imported) /* 747: default_monitor stays the imported one */
			ret = imported->export_ops->start(imported);
		pthread_mutex_unlock(&mm_state_lock);
		if (ret) {
			caches = NULL;
			free(c);
			return NULL;
		}
	}
	return &c->domain;
}

/* util_mr_cache.c:448-471 and util_mem_monitor.c:354-399 */
void standin_domain_close(struct fid_domain *domain)
{
	struct cache *c = (struct cache *)domain, **p = &caches;

	standin_lock();
	while (c->tree)
		uncache(c->tree);
	standin_unlock();
	pthread_rwlock_wrlock(&mm_list_rwlock);
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	pthread_rwlock_unlock(&mm_list_rwlock);
	if (!caches) {
		pthread_mutex_lock(&mm_state_lock);
		imported->export_ops->stop(imported);
		pthread_mutex_unlock(&mm_state_lock);
	}
	free(c);
}

unsigned long standin_pinned(const struct fid_mr *mr)
{
	return ((const struct entry *)mr)->pinned;
}

bool standin_was_hit(const struct fid_mr *mr)
{
	return ((const struct entry *)mr)->hit;
}

unsigned int standin_cached(struct fid_domain *domain)
{
	return ((struct cache *)domain)->cached;
}

unsigned int standin_notified(void)
{
	return notified;
}

unsigned int standin_unsubscribed(void)
{
	return unsubscribed;
}
