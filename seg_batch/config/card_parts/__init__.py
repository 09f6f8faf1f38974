"""What a card is put together of: values that are checked by themselves."""
