# LUKS2 with keys in files; iterations are few, because it is not the key derivation that is tested.
fast="--pbkdf pbkdf2 --pbkdf-force-iterations 1000"

make_luks() { # DEVICE
  luks=$1
  printf right >"$scratch/right"
  printf wrong >"$scratch/wrong"
  try cryptsetup luksFormat -q --type luks2 $fast --key-file "$scratch/right" "$luks"
}

unlock_with() { # KEY
  cryptsetup open --type luks2 --key-file "$scratch/$1" "$luks" lisa-ci-clear
}

unlock() { # KEY
  try unlock_with "$1"
}
