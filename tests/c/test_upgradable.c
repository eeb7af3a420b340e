/* Upgradable reads: beside plain readers, one at a time, and the way from one mode to another, the word after each step. */
#include "steps.h"

static lots_word word;

static void beside_plain_readers_and_alone_of_its_kind(void)
{
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 0);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 0);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_WORD(&word, 0x24);
    CHECK_EQ(lots_release(&word, LOTS_UPGRADABLE, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

static void upgraded_at_once_when_alone(void)
{
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 0); /* nothing to upgrade */
    CHECK_EQ(lots_try(&word, LOTS_UPGRADABLE), 1);
    CHECK_EQ(lots_try(&word, LOTS_READ), 1);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 0);
    CHECK_WORD(&word, 0x24);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 1);
    CHECK_WORD(&word, 8);
    CHECK_EQ(lots_release(&word, LOTS_UPGRADE, 0, NULL), LOTS_READY); /* taken back */
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_try(&word, LOTS_UPGRADE), 1);
    CHECK_EQ(lots_release(&word, LOTS_WRITE, 0, NULL), LOTS_READY); /* or left as the writer that it is */
    CHECK_WORD(&word, 0);
}

static void downgrades(void)
{
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_UPGRADABLE, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_READ, NULL), LOTS_MISUSE);
    CHECK_WORD(&word, 0x14);
    CHECK_EQ(lots_downgrade(&word, LOTS_UPGRADABLE, LOTS_READ, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_downgrade(&word, LOTS_UPGRADABLE, LOTS_READ, NULL), LOTS_MISUSE);
    CHECK_EQ(lots_downgrade(&word, LOTS_READ, LOTS_WRITE, NULL), LOTS_MISUSE);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_EQ(lots_try(&word, LOTS_WRITE), 1);
    CHECK_EQ(lots_downgrade(&word, LOTS_WRITE, LOTS_READ, NULL), LOTS_READY);
    CHECK_WORD(&word, 0x10);
    CHECK_EQ(lots_release(&word, LOTS_READ, 0, NULL), LOTS_READY);
    CHECK_WORD(&word, 0);
}

int main(void)
{
    watchdog(30);
    RUN(beside_plain_readers_and_alone_of_its_kind);
    RUN(upgraded_at_once_when_alone);
    RUN(downgrades);
    return 0;
}
